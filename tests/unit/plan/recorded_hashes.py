"""What the tests of config hashes compare with: a project, and what docker compose printed of it."""

MODEL = r"""
name: h
services:
  plain: {image: i}
  profiles: {image: i, profiles: [a]}
  annotations: {image: i, annotations: {b: "1", a: "<x>"}}
  attach: {image: i, attach: false}
  build: {image: i, build: {context: ., args: {a: 1}}}
  develop: {image: i, build: ., develop: {watch: [{path: ., action: sync, target: /x, ignore: [a],
    initial_sync: true}, {path: ., action: sync+exec, target: /y, exec: {command: [a, b], user: u,
    environment: {b: 1}}}]}}
  blkio: {image: i, blkio_config: {weight: 300, weight_device: [{path: /dev/a, weight: 20}],
    device_read_bps: [{path: /dev/b, rate: 12m}], device_read_iops: [{path: /dev/b, rate: 120}],
    device_write_bps: [{path: /dev/a, rate: 1024k}], device_write_iops: [{path: /dev/a, rate: 30}]}}
  caps: {image: i, cap_add: [A], cap_drop: [B]}
  cgroup: {image: i, cgroup_parent: m, cgroup: host}
  cpu: {image: i, cpu_count: 2, cpu_percent: 50, cpu_period: 10000, cpu_quota: 5000, cpu_rt_period: 2000,
    cpu_rt_runtime: 1000, cpuset: "0,1", cpu_shares: 73}
  cpus: {image: i, cpus: 0.5}
  cpus2: {image: i, cpus: "1"}
  cpus3: {image: i, cpus: 0.1}
  cpus4: {image: i, cpus: 0.00000001}
  cpus5: {image: i, cpus: 1e21}
  command: {image: i, command: 'sh -c "a && b > c < d"'}
  command2: {image: i, command: []}
  command3: {image: i, command: ["\u2028é\t\u0001\x7f"], entrypoint: ""}
  command4: {image: i, command: "", entrypoint: [a]}
  configs: {image: i, configs: [c, {source: c2, target: /x, uid: "1", gid: "2", mode: 0440}]}
  configs2: {image: i, configs: [{source: c2, target: /x, uid: "1", mode: "0440"}]}
  container_name: {image: i, container_name: foo}
  credential: {image: i, credential_spec: {config: c3}}
  credential2: {image: i, credential_spec: {file: x.json}}
  depends: {image: i, depends_on: [plain]}
  deploy: {image: i, deploy: {mode: replicated, replicas: 2, labels: {b: 1, a: 2},
    update_config: {parallelism: 2, delay: 10s, failure_action: pause, monitor: 5s, max_failure_ratio: 0.3,
    order: start-first}, rollback_config: {parallelism: 0}, resources: {limits: {cpus: "0.5", memory: 50M,
    pids: 5}, reservations: {cpus: "0.25", memory: 20M, generic_resources: [{discrete_resource_spec: {kind: gpu,
    value: 2}}], devices: [{capabilities: [gpu], driver: d, count: 1, options: {b: "1", a: "2"}},
    {capabilities: [x], device_ids: ["1"]}]}}, restart_policy: {condition: on-failure, delay: 5s,
    max_attempts: 3, window: 120s}, placement: {constraints: [a==b], preferences: [{spread: x}],
    max_replicas_per_node: 2}, endpoint_mode: vip}}
  deploy2: {image: i, deploy: {}}
  deploy3: {image: i, deploy: {replicas: 3}}
  deploy4: {image: i, deploy: {resources: {limits: {cpus: 2}}}}
  deploy5: {image: i, deploy: {resources: {limits: {memory: 1g}}, restart_policy: {}}}
  deploy6: {image: i, deploy: {resources: {limits: {cpus: 0.333333333}}}}
  devices: {image: i, devices: [/dev/a, "/dev/b:/dev/c:r", {source: /dev/d, target: /dev/e}],
    device_cgroup_rules: ["c 1:3 mr"]}
  dns: {image: i, dns: 1.1.1.1, dns_opt: [a], dns_search: [b, c], domainname: d}
  entrypoint: {image: i, entrypoint: a b}
  provider: {provider: {type: x, options: {a: 1, b: [c, d]}}}
  environment: {image: i, environment: {B: 1, A: "x<y>&z", C: , D: "", E: 1.0, F: true, G: 1e3}}
  env_file: {image: i, env_file: e.env}
  env_file2: {image: i, env_file: [{path: e.env, required: false}], environment: {B: over}}
  env_file3: {image: i, env_file: [{path: e.env, format: raw}]}
  environment2: {image: i, environment: [B=1, A, NAME]}
  expose: {image: i, expose: [80, "81-82", 90/udp]}
  extends: {extends: {service: plain}}
  external_links: {image: i, external_links: [a, "b:c"]}
  extra_hosts: {image: i, extra_hosts: {b: 1.2.3.4, a: [1.1.1.1, "::1"]}}
  extra_hosts2: {image: i, extra_hosts: ["z:1.2.3.4", "y=[::1]"]}
  group_add: {image: i, group_add: [1, x]}
  gpus: {image: i, gpus: all}
  gpus2: {image: i, gpus: [{driver: n, count: 2, capabilities: [c]}]}
  hostname: {image: i, hostname: x}
  health: {image: i, healthcheck: {test: "a && b", interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s,
    start_interval: 5s}}
  health2: {image: i, healthcheck: {disable: true}}
  health3: {image: i, healthcheck: {test: [CMD, a], retries: 0, interval: 0s}}
  health4: {image: i, healthcheck: {test: NONE}}
  init: {image: i, init: false}
  ipc: {image: i, ipc: host, isolation: default}
  ipcs: {image: i, ipc: "service:plain"}
  labels: {image: i, labels: {b: 1, a: "x"}}
  labels2: {image: i, labels: [b=1, a]}
  links: {image: i, links: [plain, "cpus:x"]}
  logging: {image: i, logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}}
  mem: {image: i, mem_limit: 1g, mem_reservation: 512m, memswap_limit: 2g, mem_swappiness: 60}
  mem2: {image: i, memswap_limit: -1}
  mac: {image: i, mac_address: "02:42:ac:11:65:43"}
  models: {image: i, models: [m]}
  models2: {image: i, models: {m: {endpoint_var: A, model_var: B}}}
  netmode: {image: i, network_mode: host}
  netmode2: {image: i, network_mode: "service:plain"}
  networks: {image: i, networks: [a, b]}
  networks2: {image: i, networks: {b: {aliases: [x], ipv4_address: 1.2.3.4, ipv6_address: "::2",
    link_local_ips: [1.1.1.1], mac_address: "02:42:ac:11:65:43", priority: 3, gw_priority: 4, driver_opts: {z: 1,
    y: "2"}, interface_name: eth9}, a: }}
  oom: {image: i, oom_kill_disable: true, oom_score_adj: -500}
  pid: {image: i, pid: host, pids_limit: 10}
  platform: {image: i, platform: linux/amd64}
  ports: {image: i, ports: [80, "8080:80", "127.0.0.1:9000-9002:90-92/udp", {target: 1, published: 2,
    protocol: udp, mode: host, name: n, app_protocol: http, host_ip: 1.2.3.4}, "7000-7010:70"]}
  privileged: {image: i, privileged: true, pull_policy: always, read_only: true, restart: always, runtime: r}
  restartno: {image: i, restart: "no"}
  scale: {image: i, scale: 2}
  secrets: {image: i, secrets: [s, {source: s2, target: x, uid: "1", gid: "2", mode: 0440}]}
  security_opt: {image: i, security_opt: [a:b], shm_size: 64m, stdin_open: true, stop_grace_period: 1m30s,
    stop_signal: SIGINT, storage_opt: {size: 1G}}
  sysctls: {image: i, sysctls: {b: 1, a: 2}}
  sysctls2: {image: i, sysctls: [b=1, a=2]}
  tmpfs: {image: i, tmpfs: [/a, "/b:size=1m"], tty: true}
  tmpfs2: {image: i, tmpfs: /a}
  ulimits: {image: i, ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}}
  api: {image: i, use_api_socket: true}
  user: {image: i, user: u, userns_mode: host, uts: host}
  volumes: {image: i, volumes: [/anon, "vol:/v", "vol:/v2:ro", "./x:/x", "./y:/y:ro,z,rshared", "vol:/v3:nocopy",
    "vol:/v4:Z"]}
  volumes2: {image: i, volumes: [{type: bind, source: ., target: /a}, {type: bind, source: ., target: /b,
    bind: {create_host_path: false, selinux: z, propagation: rshared, recursive: readonly}}, {type: volume,
    source: vol, target: /c, volume: {nocopy: true, subpath: s, labels: {b: "1", a: "2"}}, read_only: true,
    consistency: cached}, {type: tmpfs, target: /d, tmpfs: {size: 10m, mode: 01777}}, {type: image, source: img,
    target: /e, image: {subpath: p}}]}
  volumes3: {image: i, volumes: [{type: bind, source: ., target: /a, bind: {}}, {type: tmpfs, target: /d},
    {type: volume, target: /q}]}
  volumes_from: {image: i, volumes_from: [plain, "cpus:ro", "container:foo"]}
  working_dir: {image: i, working_dir: /x}
  hooks: {image: i, post_start: [{command: "a b", user: root, privileged: true, working_dir: /w,
    environment: [B=1, A=2]}], pre_stop: [{command: [a]}]}
  ext: {image: i, x-foo: {a: 1}, logging: {driver: a, x-b: 2}}
networks: {a: , b: {driver: bridge}}
volumes: {vol: }
configs: {c: {content: "hello"}, c2: {file: ./c2}, c3: {file: ./c2}}
secrets: {s: {environment: HOME}, s2: {file: ./c2}}
models: {m: {model: ai/x}}
"""
DIGITS = 16
HASHES = {
    "plain": "b5503d15e9dfd864",
    "profiles": "b5503d15e9dfd864",
    "annotations": "afc96f9ba5003f0b",
    "attach": "8342929197f6d0aa",
    "build": "b5503d15e9dfd864",
    "develop": "2a0097dd598a1024",
    "blkio": "99e81cd6941d77ee",
    "caps": "2cacd7e7d58feaf2",
    "cgroup": "284c2d086f926aa8",
    "cpu": "8eac31f565b682bc",
    "cpus": "fbf66bb16c89f702",
    "cpus2": "3577c58f4fe709fa",
    "cpus3": "7daa50b4c9121713",
    "cpus4": "274393b972513f6c",
    "cpus5": "395ea3873e1fea38",
    "command": "21e90879ce6abf80",
    "command2": "8fc1bdfd18da509f",
    "command3": "9630d7101e5717c9",
    "command4": "b52b1cc2bd0ca785",
    "configs": "45de293da596a5b8",
    "configs2": "954af2ae5b351f1a",
    "container_name": "8851a06fc2d9f7c4",
    "credential": "95c6f8e9de223ece",
    "credential2": "09809f3915cdc9fa",
    "depends": "b5503d15e9dfd864",
    "deploy": "7140af5e661b7608",
    "deploy2": "fab49333db9e14d2",
    "deploy3": "fab49333db9e14d2",
    "deploy4": "3ec933d6465f4978",
    "deploy5": "eeed0736bd396441",
    "deploy6": "c629d92b2960f3dd",
    "devices": "db9f01e0fd2e4cc0",
    "dns": "41c432197a1e3e62",
    "entrypoint": "6e9510e75bc4671e",
    "provider": "a615554c5be85897",
    "environment": "1be0bbb8dc62baa1",
    "env_file": "f57ec902403f7f47",
    "env_file2": "023476d7c11e70bc",
    "env_file3": "f57ec902403f7f47",
    "environment2": "f361d603f657354f",
    "expose": "61dc44f63b1d670d",
    "extends": "b5503d15e9dfd864",
    "external_links": "28f21f807e0317ac",
    "extra_hosts": "51efa5a71165177e",
    "extra_hosts2": "afae4e6d4909c25c",
    "group_add": "3d660a25e0f02e1f",
    "gpus": "70223fd9d2f1135b",
    "gpus2": "471a642144fefd6b",
    "hostname": "708ff75bd8b58e20",
    "health": "c5dc14147bbe9ed8",
    "health2": "c3e94b820a2595a6",
    "health3": "e01047364314581f",
    "health4": "dae5fafa0a3cbba9",
    "init": "5687a85a569bf162",
    "ipc": "e4e8886739712872",
    "ipcs": "98fddddfe464098b",
    "labels": "33eb4158aa54ed0f",
    "labels2": "da3bfb95fb694678",
    "links": "880de5637f9f0ba5",
    "logging": "d158ff301d408c5b",
    "mem": "78f46365e7cd08ba",
    "mem2": "6a2f817ac6bf95fb",
    "mac": "20c3c705eb6421e3",
    "models": "0b04686094965ab1",
    "models2": "5aa7ae8d49743ba0",
    "netmode": "fa39f9156e042c21",
    "netmode2": "72f7c725e82662af",
    "networks": "1c5a0f8561ff7aa5",
    "networks2": "06fd85726e6c4da3",
    "oom": "3a5ff8ca66418cb3",
    "pid": "7a9b79f9e6832d23",
    "platform": "62191ec23a72b41e",
    "ports": "4990975a0fc66e21",
    "privileged": "aa610da594dbcea8",
    "restartno": "b34da42d552f8919",
    "scale": "b5503d15e9dfd864",
    "secrets": "a6b166ff0425b814",
    "security_opt": "e556cd209d34b8dd",
    "sysctls": "7956311902061ecf",
    "sysctls2": "7956311902061ecf",
    "tmpfs": "29f83101745cedf8",
    "tmpfs2": "91d57069825a47d9",
    "ulimits": "6670c50609c4c16b",
    "api": "b70fad7908be889c",
    "user": "a8fe8bdb01c7998f",
    "volumes": "46c7a5b3b1f7f302",
    "volumes2": "e46cba2babad67f5",
    "volumes3": "5adbcde5759e4f8c",
    "volumes_from": "2b74b587959a22b9",
    "working_dir": "68723dca2e60b3e1",
    "hooks": "ae0bda5879d0b3bc",
    "ext": "85b585594e13497c",
}
"""The first digits of each service's hash, as `--project-directory /srv/h --profile '*' config --hash '*'` prints it."""
SINCE_5 = {
    "env_file": "903e9228b72b741f",
    "env_file3": "78cff9b0cc08c7e5",
    "volumes": "cbfbad54fff8c9a4",
    "volumes2": "0fce792ac705fcc4",
}
"""Those of version 5, which leaves out a `create_host_path` and a `required` that are true (compose-go, types.OptOut)."""
