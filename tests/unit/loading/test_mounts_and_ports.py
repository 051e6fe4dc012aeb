"""What the reference makes of mounts, devices and ports, in short and long forms."""

import pytest

from tests.support.models import ENVIRON, REST, row_names, same, service

BIND = {"type": "bind", "bind": {"create_host_path": True}}
MOUNTS = [
    ("devices", "[/dev/a]", [{"source": "/dev/a", "target": "/dev/a", "permissions": "rwm"}]),
    ("devices", '["/dev/a:/dev/b"]', [{"source": "/dev/a", "target": "/dev/b", "permissions": "rwm"}]),
    ("devices", '["/dev/a:/dev/b:r"]', [{"source": "/dev/a", "target": "/dev/b", "permissions": "r"}]),
    ("devices", "[{source: /dev/a, target: /dev/b}]", [{"source": "/dev/a", "target": "/dev/b"}]),
    (
        "devices",
        "[{source: /dev/a, target: /dev/b, permissions: rw}]",
        [{"source": "/dev/a", "target": "/dev/b", "permissions": "rw"}],
    ),
    (
        "devices",
        '["vendor.com/class=name"]',
        [dict.fromkeys(("source", "target"), "vendor.com/class=name") | {"permissions": "rwm"}],
    ),
    ("tmpfs", "/run", ["/run"]),
    ("tmpfs", '["/run:size=64m,mode=1770", /tmp]', ["/run:size=64m,mode=1770", "/tmp"]),
    ("volumes", "[/anon]", [{"type": "volume", "target": "/anon", "volume": {}}]),
    ("volumes", "[/a]", [{"type": "volume", "target": "/a"}]),
    ("volumes", "[/anon/../x//y/]", [{"type": "volume", "target": "/x/y", "volume": {}}]),
    ("volumes", '["data:/var/lib"]', [{"type": "volume", "source": "data", "target": "/var/lib", "volume": {}}]),
    (
        "volumes",
        '["data:/var/lib:ro,nocopy"]',
        [{"type": "volume", "source": "data", "target": "/var/lib", "read_only": True, "volume": {"nocopy": True}}],
    ),
    (
        "volumes",
        '["data:/var/lib:rw,cached,odd"]',
        [{"type": "volume", "source": "data", "target": "/var/lib", "volume": {}}],
    ),
    (
        "volumes",
        '["/opt/data:/var/lib"]',
        [{"type": "bind", "source": "/opt/data", "target": "/var/lib", "bind": {"create_host_path": True}}],
    ),
    ("volumes", '[".:/code"]', [{**BIND, "source": "{here}", "target": "/code"}]),
    ("volumes", '["./a/../b:/code"]', [{**BIND, "source": "{here}/b", "target": "/code"}]),
    ("volumes", '["../up:/code:ro"]', [{**BIND, "source": "{up}/up", "target": "/code", "read_only": True}]),
    ("volumes", '["~/c:/etc/c"]', [{**BIND, "source": "/home/me/c", "target": "/etc/c"}]),
    (
        "volumes",
        '["./a:/b:z,rslave"]',
        [
            {
                "type": "bind",
                "source": "{here}/a",
                "target": "/b",
                "bind": {"selinux": "z", "propagation": "rslave", "create_host_path": True},
            }
        ],
    ),
    ("volumes", "['C:\\a:/b']", [{**BIND, "source": "C:\\a", "target": "/b"}]),
    (
        "volumes",
        "[{type: bind, source: ./opt, target: /opt/, consistency: cached}]",
        [{"type": "bind", "source": "{here}/opt", "target": "/opt", "consistency": "cached"}],
    ),
    (
        "volumes",
        "[{type: bind, source: ., target: /b, bind: {propagation: rprivate, recursive: readonly, selinux: Z}}]",
        [
            {
                "type": "bind",
                "source": "{here}",
                "target": "/b",
                "bind": {"selinux": "Z", "propagation": "rprivate", "create_host_path": True, "recursive": "readonly"},
            }
        ],
    ),
    (
        "volumes",
        "[{type: bind, source: ., target: /b, read_only: 'true', bind: {create_host_path: false}}]",
        [{"type": "bind", "source": "{here}", "target": "/b", "read_only": True, "bind": {"create_host_path": False}}],
    ),
    (
        "volumes",
        "[{type: volume, source: data, target: /b, volume: {nocopy: true, subpath: s, labels: [a=b]}}]",
        [
            {
                "type": "volume",
                "source": "data",
                "target": "/b",
                "volume": {"labels": {"a": "b"}, "nocopy": True, "subpath": "s"},
            }
        ],
    ),
    ("volumes", "[{type: volume, target: /b}]", [{"type": "volume", "target": "/b"}]),
    (
        "volumes",
        "[{type: tmpfs, target: /t, tmpfs: {size: 10k, mode: 0o1777}}, {type: tmpfs, target: /u, tmpfs: {size: 0}}]",
        [
            {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "10240", "mode": 1023}},
            {"type": "tmpfs", "target": "/u", "tmpfs": {}},
        ],
    ),
    (
        "volumes",
        "[{type: image, source: alpine, target: /i, image: {subpath: etc}}]",
        [{"type": "image", "source": "alpine", "target": "/i", "image": {"subpath": "etc"}}],
    ),
    (
        "volumes",
        "[{type: npipe, source: '\\\\.\\pipe\\x', target: /p}]",
        [{"type": "npipe", "source": "\\\\.\\pipe\\x", "target": "/p"}],
    ),
    ("volumes", "[{type: cluster, source: c, target: /c}]", [{"type": "cluster", "source": "c", "target": "/c"}]),
    ("volumes", '["data:/x", "other:/x"]', [{"type": "volume", "source": "other", "target": "/x", "volume": {}}]),
    ("volumes_from", '["container:c:ro"]', ["container:c:ro"]),
]


@pytest.mark.parametrize(("attribute", "value", "expected"), MOUNTS, ids=row_names(MOUNTS))
def test_mounts_become_what_the_reference_makes_of_them(tmp_path, attribute, value, expected):
    found = service(tmp_path, attribute, value, REST, ENVIRON)
    assert same(found, expected, tmp_path), found


PORT = {"mode": "ingress", "protocol": "tcp"}
PORTS = [
    ("[3000]", [{**PORT, "target": 3000}]),
    ('["3000"]', [{**PORT, "target": 3000}]),
    ('["3000-3002"]', [{**PORT, "target": 3000}, {**PORT, "target": 3001}, {**PORT, "target": 3002}]),
    ('["8000:80"]', [{**PORT, "target": 80, "published": "8000"}]),
    ('["8000-8010:80"]', [{**PORT, "target": 80, "published": "8000-8010"}]),
    (
        '["9090-9091:8080-8081"]',
        [{**PORT, "target": 8080, "published": "9090"}, {**PORT, "target": 8081, "published": "9091"}],
    ),
    ('["9-10:9-10"]', [{**PORT, "target": 10, "published": "10"}, {**PORT, "target": 9, "published": "9"}]),
    ('["127.0.0.1:8001:8001"]', [{**PORT, "host_ip": "127.0.0.1", "target": 8001, "published": "8001"}]),
    ('["127.0.0.1::80"]', [{**PORT, "host_ip": "127.0.0.1", "target": 80}]),
    ('["[::1]:6000:6001"]', [{**PORT, "host_ip": "::1", "target": 6001, "published": "6000"}]),
    ('["::1:6000:6001"]', [{**PORT, "host_ip": "::1", "target": 6001, "published": "6000"}]),
    ('["6060:6060/udp"]', [{**PORT, "target": 6060, "published": "6060", "protocol": "udp"}]),
    ('["6060:6060/SCTP"]', [{**PORT, "target": 6060, "published": "6060", "protocol": "sctp"}]),
    ('["80/"]', [{**PORT, "target": 80}]),
    (
        '["80:80", "80:80/udp"]',
        [{**PORT, "target": 80, "published": "80"}, {**PORT, "target": 80, "published": "80", "protocol": "udp"}],
    ),
    ('["80:80", {target: 80, published: "80"}]', [{**PORT, "target": 80, "published": "80"}]),
    ("[{target: 80}]", [{**PORT, "target": 80}]),
    ("[{target: '80', published: 8080}]", [{**PORT, "target": 80, "published": "8080"}]),
    (
        "[{name: web, target: 80, published: '8080-8090', host_ip: 127.0.0.1, protocol: udp, mode: host, app_protocol: http}]",
        [
            {
                "name": "web",
                "mode": "host",
                "host_ip": "127.0.0.1",
                "target": 80,
                "published": "8080-8090",
                "protocol": "udp",
                "app_protocol": "http",
            }
        ],
    ),
]


@pytest.mark.parametrize(("value", "expected"), PORTS, ids=[row[0] for row in PORTS])
def test_ports_become_what_the_reference_makes_of_them(tmp_path, value, expected):
    assert service(tmp_path, "ports", value) == expected


FILES = [
    (value, expected)
    for value, expected, _ in [
        ("[one]", [{"source": "one"}], [{"source": "one"}]),
        (
            "[{source: one, target: /t, uid: '103', gid: '104', mode: 0440}]",
            [{"source": "one", "target": "/t", "uid": "103", "gid": "104", "mode": "0440"}],
            None,
        ),
        ("[{source: one, target: /t, mode: '0400'}]", [{"source": "one", "target": "/t", "mode": "0400"}], None),
        ("[{source: one, target: /t, mode: 0o755}]", [{"source": "one", "target": "/t", "mode": "0755"}], None),
        ("[{source: one, target: /t, mode: 292}]", [{"source": "one", "target": "/t", "mode": "0444"}], None),
    ]
]


@pytest.mark.parametrize(("value", "expected"), FILES, ids=[row[0] for row in FILES])
def test_a_file_mount_becomes_what_the_reference_makes_of_it(tmp_path, value, expected):
    assert service(tmp_path, "configs", value, REST) == expected
    assert service(tmp_path, "secrets", value, REST) == [{"target": "/run/secrets/one", **each} for each in expected]
    assert service(tmp_path, "build", f"{{secrets: {value}}}", REST)["secrets"] == expected
