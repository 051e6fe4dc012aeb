import os

import anyio
import pytest

from runtime.build.agents import relayed
from runtime.build.writer import Owner
from tests.integration.build.workbench import bench, proves

pytestmark = pytest.mark.root


@proves
async def test_what_is_written_to_a_mount_goes_with_the_step(b):
    b.write({"d/f": "one\n", "single": "1\n"})
    result = await b.build(
        "FROM busybox AS low\nRUN mkdir /m && echo low > /m/low\nFROM low AS high\nRUN echo high > /m/high\n"
        "FROM busybox\nRUN --mount=source=d,target=/d,rw --mount=source=single,target=/s,rw "
        "--mount=from=high,source=/m,target=/m,readwrite echo two >> /d/f && echo 2 >> /s && echo new > /m/new && "
        "cat /d/f /s /m/* > /got\n"
        "RUN --mount=source=d,target=/d --mount=from=high,source=/m,target=/m cat /d/f /m/* >> /got && ! touch /d/x\n"
    )
    assert result.read("/got").split() == ["one", "two", "1", "2", "high", "low", "new", "one", "high", "low"]
    assert (b.context / "d/f").read_text() == "one\n"
    assert [result.tree.find(path) for path in ("/d", "/s", "/m")] == [None] * 3


@proves
async def test_what_has_no_files_shows_none_when_it_is_mounted(b):
    """Nothing on the disk stands for the root of scratch: it must not be the machine's."""
    text = (
        "FROM scratch AS none\nFROM busybox\n"
        "RUN --mount=from=scratch,target=/a --mount=from=none,target=/b --mount=from=none,target=/c,rw "
        "--mount=type=cache,from=scratch,target=/d touch /c/x && ls -A /a /b /c /d > /got\n"
    )
    assert (await b.build(text)).read("/got").split() == ["/a:", "/b:", "/c:", "x", "/d:"]


@proves
async def test_a_locked_cache_is_one_steps_at_a_time(b):
    # each step fails when it finds the other's mark
    step = "RUN --mount=type=cache,target=/c,sharing=locked mkdir /c/busy && sleep 0.1 && rmdir /c/busy && echo {0} > /{0}\n"
    result = await b.build(
        f"FROM busybox AS one\n{step.format(1)}FROM busybox AS two\n{step.format(2)}"
        "FROM scratch\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"
    )
    assert result.read("/1") + result.read("/2") == "1\n2\n"


@proves
async def test_a_private_cache_in_use_is_another_one(b):
    # both wait until each has seen the other run, through a shared cache, and both write the same name
    step = (
        "RUN --mount=type=cache,target=/p,sharing=private --mount=type=cache,id=meet,target=/m "
        "set -o noclobber; echo x > /p/mine && touch /m/{0} && while [ ! -e /m/{1} ]; do sleep 0.01; done; ls /p > /{0}\n"
    )
    result = await b.build(
        f"FROM busybox AS one\n{step.format('a', 'b')}FROM busybox AS two\n{step.format('b', 'a')}"
        "FROM scratch\nCOPY --from=one /a /\nCOPY --from=two /b /\n"
    )
    assert result.read("/a") + result.read("/b") == "mine\nmine\n"


@proves
async def test_a_cache_begins_with_what_it_is_made_from_and_keeps_what_is_written(b):
    text = (
        "FROM busybox AS seed\nRUN mkdir /seed && echo first > /seed/f && chown 5 /seed/f\nFROM busybox\n"
        "RUN --mount=type=cache,from=seed,source=/seed,target=/c,uid=3,gid=4,mode=0750 "
        "echo more >> /c/f && cat /c/f > /got && stat -c '%u %g %a' /c >> /got && stat -c %u /c/f >> /got\n"
    )
    assert (await b.build(text)).read("/got").split() == ["first", "more", "3", "4", "750", "5"]
    again = await b.build(text.replace("&& cat", "&& true && cat"))
    assert again.read("/got").split()[:3] == ["first", "more", "more"]
    text = (
        "FROM busybox AS seed\nRUN mkdir -m 2750 /seed && chown 5:6 /seed\nFROM busybox\nWORKDIR /here\n"
        "RUN --mount=type=cache,from=seed,source=/seed --mount=type=cache,from=seed,source=/seed,target=/c,uid=3 "
        "stat -c '%u %g %a' /here /c > /got\n"
    )
    assert (await b.build(text)).read("/got").splitlines() == ["5 6 2750", "3 6 2750"]


@proves
async def test_pruning_forgets_steps_and_caches(b):
    text = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/n; cp /c/n /n\n"
    await b.build(text)
    removed, freed = await b.builder.prune()
    assert removed
    assert freed >= 2
    result = await b.build(text)
    assert (result.read("/n"), b.runner.runs) == ("x\n", 2)


@proves
async def test_secrets_are_files_or_variables_and_no_part_of_the_key(b):
    text = (
        "FROM busybox\nRUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=file,target=/x/f,mode=0444,uid=7 "
        "--mount=type=secret,id=absent echo $TOKEN $(cat /x/f) $(stat -c '%u %a' /x/f) > /got; ! test -e /run/secrets\n"
    )
    result = await b.build(text, secrets={"token": b"one", "file": b"two"})
    assert result.read("/got") == "one two 7 444\n"
    assert result.tree.find("/x") is None
    assert "one" not in str(result.image.config)
    again = await b.build(text, secrets={"token": b"other", "file": b"two"})
    assert (again.image.id, b.runner.runs) == (result.image.id, 1)
    missing = await b.build("FROM busybox\nRUN --mount=type=secret,id=absent,required true\n")
    assert missing.error["message"].startswith("Dockerfile:2: secret absent: not found")


@proves
async def test_secrets_come_apart_from_the_context(b):
    files = {
        "Dockerfile": "FROM busybox\nCOPY . /c\nRUN --mount=type=secret,id=s cat /run/secrets/s > /got\n",
        "hidden/s": "content",
    }
    result = await b.build_stream(files, secret_members={"s": "hidden/s"})
    assert result.read("/got") == "content"
    assert result.tree.find("/c/hidden/s") is None


@proves
async def test_a_step_has_a_socket_of_its_own_to_the_agent(b):
    result = await b.build(
        "FROM busybox\nUSER app\nRUN --mount=type=ssh,uid=1000 "
        "test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK $(stat -c '%u %a' $SSH_AUTH_SOCK) > /tmp/got\n",
        ssh={"default": str(b.home / "agent.sock")},
    )
    assert result.read("/tmp/got") == "/run/buildkit/ssh_agent.0 1000 600\n"
    assert result.tree.find("/run") is None
    missing = await b.build("FROM busybox\nRUN --mount=type=ssh,required=true true\n")
    assert "no SSH agent 'default' was given to the build" in missing.error["message"]


def test_the_socket_of_a_step_leads_to_the_agent_and_goes_with_the_step(tmp_path):
    async def agent(client):
        async with client:
            assert await client.receive() == b"hello"
            await client.send(b"from the agent")

    async def inside():
        listener = await anyio.create_unix_listener(tmp_path / "agent")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, agent)
            async with relayed(tmp_path / "step", str(tmp_path / "agent"), 0o600, Owner(5, 6)):
                async with await anyio.connect_unix(tmp_path / "step") as stream:
                    await stream.send(b"hello")
                    assert await stream.receive() == b"from the agent"
                assert os.stat(tmp_path / "step").st_uid == 5
            with pytest.raises(ConnectionRefusedError):
                await anyio.connect_unix(tmp_path / "step")
            group.cancel_scope.cancel()

    anyio.run(inside)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--network=host", "network.host is not allowed"),
        ("--security=insecure", "security.insecure is not allowed"),
        ("--mount=type=bind,source=/gone,target=/x", "--mount: '/gone' not found in the build context"),
        ("--mount=type=cache,target=/c,sharing=lokced", 'did you mean "locked"?'),
        ("--mount=type=tmpfs,target=/c,size=big", "invalid size 'big'"),
        ("--mount=type=secret,id=x,mode=rw", "mode=rw is not an octal mode"),
    ],
)
def test_what_a_step_may_not_have_is_reported(flag, message):
    async def inside():
        async with bench() as b:
            result = await b.build(f"FROM busybox\nRUN {flag} true\n")
            assert message in result.error["message"]
            assert result.error["message"].startswith("Dockerfile:2: ")

    anyio.run(inside)


@proves
async def test_caches_of_one_id_that_begin_otherwise_are_others(b):
    # of each line: what it asks for in addition to the ID, and what it finds there
    steps = [
        ("", "0 0 755"), (",uid=5", "5 0 755"), (",gid=6", "0 6 755"), (",mode=0700", "0 0 700"), (",from=seed", "0 0 755 s"),
        ("", "0 0 755 0"), (",uid=5", "5 0 755 1"), (",from=seed", "0 0 755 4 s"),
        (",id=/c", "0 0 755 0 5"), (",id=c", "0 0 755"),
    ]  # fmt: skip
    runs = "".join(
        f"RUN --mount=type=$kind,target=$where{extra} "
        f"stat -c '%u %g %a' /c >> /got; ls /c >> /got; echo = >> /got; touch /c/{n}\n"
        for n, (extra, _) in enumerate(steps)
    )
    result = await b.build(
        f"FROM scratch AS seed\nCOPY <<s /\ns\nFROM busybox\nARG kind=cache\nENV where=/c\n{runs}", build_args={}
    )
    found = [" ".join(text.split()) for text in result.read("/got").split("=\n")[:-1]]
    assert found == [expected for _, expected in steps]


@proves
async def test_a_step_sees_its_proxies_user_and_arguments(b):
    result = await b.build(
        "FROM busybox\nENV A=env\nARG A=arg B\nRUN env > /env; id -G > /id\nUSER app\nRUN id -G > /tmp/app\n"
        "USER 7:8\nRUN id -G > /tmp/both\n",
        build_args={"B": "given", "http_proxy": "http://p:1", "NO_PROXY": "x"},
    )
    env = dict(line.split("=", 1) for line in result.read("/env").splitlines())
    assert {name: env.get(name) for name in ("A", "B", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "HTTPS_PROXY")} == {
        "A": "arg", "B": "given", "http_proxy": "http://p:1", "HTTP_PROXY": "http://p:1", "no_proxy": "x", "NO_PROXY": "x",
        "HTTPS_PROXY": None,
    }  # fmt: skip
    assert result.read("/id") == "0\n"
    assert sorted(result.read("/tmp/app").split()) == ["1000", "2000"]
    assert result.read("/tmp/both") == "8\n"
    told = [entry["created_by"] for entry in result.image.config["history"]]
    assert "RUN |2 A=arg B=given /bin/sh -c env > /env; id -G > /id # buildkit" in told
    assert "p:1" not in str(result.image.config)


@proves
async def test_the_network_and_the_hosts_of_a_build_are_part_of_a_step(b):
    text = "FROM busybox\nRUN echo > /f\n"
    options = [{}, {"network_mode": "none"}, {"extra_hosts": ("a:1.1.1.1",)}, {"extra_hosts": ("a:2.2.2.2",)}]
    for option in (*options, *options):
        await b.build(text, **option)
    assert b.runner.runs == len(options)


@proves
async def test_a_bound_keeps_what_was_used_last(b):
    for name in ("old", "young"):
        b.write({name: name * 10_000})
        text = f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c --mount=src={name},target=/f cp /f /c; cp /f /{name}\n"
        await b.build(text)
    await b.build(text.replace("young", "old"))  # found in the cache: that is a use as well
    for image in b.images.list():
        b.images.remove(image.id, force=True, in_use=lambda _: None)
    before = {one.name: one for one in await b.builder.caches.kept()}
    assert (before["old"].size_bytes, before["young"].size_bytes) == (30_000, 50_000)
    assert before["old"].last_used < before["young"].last_used
    removed, freed = await b.builder.prune(keep_bytes=131_000)
    assert (removed, freed) == ([before["old"].id], 30_000)
    removed, freed = await b.builder.prune(keep_bytes=40_000)
    assert freed == 100_000, "the step of young, and its cache: old's was found since then"
    assert await b.builder.prune(keep_bytes=40_000) == ([], 0)
    assert len((await b.builder.prune())[0]) == 1


@proves
async def test_the_callers_certificates_are_seen_by_steps_and_are_no_part_of_anything(b):
    text = (
        "FROM busybox\nENV PIP_CERT=/own\n"
        "RUN cat $SSL_CERT_FILE $APT_CONFIG > /tmp/seen; echo $CURL_CA_BUNDLE $PIP_CERT >> /tmp/seen\n"
    )
    with_them = await b.build(text, certificates=b"PEM\n", build_args={"HTTPS_PROXY": "http://p"})
    where = "/run/skiff/certificates.pem"
    assert with_them.read("/tmp/seen") == f'PEM\nAcquire::https::CAInfo "{where}";\n{where} /own\n'
    assert with_them.tree.find("/run") is None
    assert not any("SSL_CERT" in item for item in with_them.config["Env"])
    without = await b.build(text)
    assert (without.image.id, b.runner.runs) == (with_them.image.id, 1)


@proves
async def test_a_step_that_does_not_trust_a_server_gets_a_hint_on_certificates(b):
    text = "FROM busybox\nRUN echo 'curl: (60) SSL certificate problem: self-signed certificate' >&2; exit 60\n"
    assert "`skiff build --with-host-ca`" in (await b.build(text)).error["message"]
    assert "--with-host-ca" not in (await b.build(text, certificates=b"PEM\n")).error["message"]
    assert "--with-host-ca" not in (await b.build("FROM busybox\nRUN echo no; exit 1\n")).error["message"]
