//! Single values, and keys of one table that do not go together.

use super::{check, edit};

/// [`super::VALID`] with a line more in `[agent]`: line 2.
fn agent(line: &str) -> String {
    edit("[agent]", &format!("[agent]\n{line}"))
}

/// With a line more in the first service: line 8.
fn service(line: &str) -> String {
    edit("port     = 80", &format!("port     = 80\n{line}"))
}

/// With a line more in its check: line 12.
fn of_check(line: &str) -> String {
    edit("\"http\"", &format!("\"http\"\n{line}"))
}

/// With a line more in its first backend: line 17.
fn backend(line: &str) -> String {
    edit("\"10.0.0.11\"", &format!("\"10.0.0.11\"\n{line}"))
}

#[test]
fn words() {
    check(&[
        (
            "mode",
            agent("xdp_mode = \"driver\""),
            "2: unknown xdp_mode `driver`: expected one of `auto`, `native`, `generic`",
        ),
        (
            "protocol",
            edit("\"tcp\"", "\"sctp\""),
            "8: unknown protocol `sctp`: expected one of `tcp`, `udp`",
        ),
        (
            "forward",
            service("forward = \"snat\""),
            "8: unknown forward `snat`: expected one of `nat`, `dsr`, `ipip`, `gue`, `fullnat`",
        ),
        (
            "failback",
            service("failback = \"never\""),
            "8: unknown failback `never`: expected one of `auto`, `drain`, `manual`",
        ),
        (
            "kind of later work",
            edit("\"http\"", "\"https\""),
            "11: unknown kind `https`: expected one of `icmp`, `tcp`, `http`",
        ),
        (
            "standby",
            backend("standby = \"tepid\""),
            "17: unknown standby `tepid`: expected one of `hot`, `warm`, `cold`",
        ),
        (
            "words are lower case",
            edit("\"tcp\"", "\"TCP\""),
            "8: unknown protocol `TCP`: expected one of `tcp`, `udp`",
        ),
    ]);
}

#[test]
fn numbers() {
    check(&[
        (
            "port above",
            edit("80", "65536"),
            "7: `port` is 65536: write a number from 0 to 65535",
        ),
        (
            "port below",
            edit("80", "-1"),
            "7: `port` is -1: write a number from 0 to 65535",
        ),
        (
            "backend port 0",
            backend("port = 0"),
            "17: `port` is 0: write a number from 1 to 65535",
        ),
        (
            "check port 0",
            of_check("port = 0"),
            "12: `port` is 0: write a number from 1 to 65535",
        ),
        (
            "priority 0",
            backend("priority = 0"),
            "17: `priority` is 0: write a number from 1 to 255",
        ),
        (
            "priority 256",
            backend("priority = 256"),
            "17: `priority` is 256: write a number from 1 to 255",
        ),
        (
            "fall 0",
            of_check("fall = 0"),
            "12: `fall` is 0: write a number from 1 to 4294967295",
        ),
        (
            "rise below",
            of_check("rise = -3"),
            "12: `rise` is -3: write a number from 1 to 4294967295",
        ),
    ]);
}

#[test]
fn paths() {
    check(&[
        (
            "pins",
            agent("pin_path = \"bpf\""),
            "2: `pin_path` is `bpf`: write an absolute path, as in pin_path = \"/sys/fs/bpf/failover\"",
        ),
        (
            "api",
            agent("api = \"\""),
            "2: `api` is ``: write an absolute path, as in api = \"/run/failover.sock\"",
        ),
        (
            "api too long",
            agent(&format!("api = \"/{}\"", "a".repeat(107))),
            "2: `api` has 108 bytes: write at most 107, a unix socket has room for no more",
        ),
        (
            "api group",
            agent("api_group = \"\""),
            "2: `api_group` is empty: write a word, as in api_group = \"adm\"",
        ),
        (
            "path",
            of_check("path = \"healthz\""),
            "12: `path` is `healthz`: write one that starts with `/` and is visible ASCII, as in path = \"/healthz\"",
        ),
        (
            "path that would be two header lines",
            of_check("path = \"/a\\r\\nb\""),
            "12: `path` is `/a\\r\\nb`: write one that starts with `/` and is visible ASCII, as in path = \"/healthz\"",
        ),
    ]);
}

#[test]
fn names() {
    check(&[
        (
            "empty",
            edit("\"web\"", "\"\""),
            "5: `name` is empty: write a word, as in name = \"db\"",
        ),
        (
            "blank",
            edit("\"web\"", "\"w eb\""),
            "5: name `w eb` has white space or a control character: write \"w-eb\"",
        ),
        (
            "long",
            edit("web", &"w".repeat(65)),
            "5: name of 65 bytes: write at most 64",
        ),
        (
            "empty backend",
            edit("\"web-a\"", "\"\""),
            "15: `name` is empty: write a word, as in name = \"db-a\"",
        ),
        (
            "line in a backend",
            edit("\"web-a\"", "\"web\\na\""),
            "15: name `web\\na` has white space or a control character: write \"web-a\"",
        ),
        (
            "long, in bytes",
            edit("web-a", &"\u{fc}".repeat(33)),
            "15: name of 66 bytes: write at most 64",
        ),
        (
            "no interface",
            edit("[\"eth0\"]", "[]"),
            "2: no interfaces: write at least one, as in interfaces = [\"eth0\"]",
        ),
        (
            "empty interface",
            edit("\"eth0\"", "\"\""),
            "2: empty interface name: write one, as in \"eth0\"",
        ),
        (
            "long interface",
            edit("\"eth0\"", "\"enp0s31f6np0v100\""),
            "2: interface `enp0s31f6np0v100` has 16 bytes: write a name of at most 15",
        ),
        (
            "interface that cannot be",
            edit("\"eth0\"", "\"eth0:1\""),
            "2: `eth0:1` cannot be an interface: write a name without white space, `/` and `:`",
        ),
        (
            "interface twice",
            edit("\"eth0\"]", "\"eth0\",\n\"eth1\",\n\"eth0\"]"),
            "4: duplicate interface `eth0`: write it once",
        ),
    ]);
}

#[test]
fn addresses() {
    let vip = |address: &str| edit("10.0.0.100", address);
    let backend = |address: &str| edit("10.0.0.11", address);
    check(&[
        (
            "not one",
            vip("10.0.0.256"),
            "6: `10.0.0.256` is not an address: write an IPv4 or IPv6 one, as in address = \"10.0.0.100\"",
        ),
        (
            "a network",
            vip("10.0.0.0/24"),
            "6: `10.0.0.0/24` is not an address: write an IPv4 or IPv6 one, as in address = \"10.0.0.100\"",
        ),
        (
            "a name",
            backend("web-a"),
            "16: `web-a` is not an address: write an IPv4 or IPv6 one, as in address = \"10.0.0.100\"",
        ),
        (
            "unspecified",
            vip("0.0.0.0"),
            "6: 0.0.0.0 is the unspecified address: write the address of the service",
        ),
        (
            "unspecified, IPv6",
            vip("::"),
            "6: :: is the unspecified address: write the address of the service",
        ),
        (
            "loopback",
            vip("127.0.0.1"),
            "6: 127.0.0.1 is a loopback address: write the address of the service",
        ),
        (
            "loopback, IPv6",
            backend("::1"),
            "16: ::1 is a loopback address: write the address of the server",
        ),
        (
            "multicast",
            vip("224.0.0.1"),
            "6: 224.0.0.1 is a multicast address: write the address of the service",
        ),
        (
            "multicast, IPv6",
            backend("ff02::1"),
            "16: ff02::1 is a multicast address: write the address of the server",
        ),
        (
            "broadcast",
            backend("255.255.255.255"),
            "16: 255.255.255.255 is the broadcast address: write the address of the server",
        ),
        (
            "link-local",
            backend("fe80::1"),
            "16: fe80::1 is a link-local address: write the address of the server",
        ),
        (
            "mapped",
            vip("::ffff:10.0.0.100"),
            "6: `::ffff:10.0.0.100` is an IPv4 address mapped into IPv6: write \"10.0.0.100\"",
        ),
        (
            "mapped backend",
            backend("::ffff:a00:b"),
            "16: `::ffff:a00:b` is an IPv4 address mapped into IPv6: write \"10.0.0.11\"",
        ),
        (
            "IPv6 backend",
            backend("2001:db8::11"),
            "16: 2001:db8::11 is not of the family of service `web`: write an IPv4 address, \
             or forward = \"ipip\"",
        ),
        (
            "IPv6 service",
            vip("2001:db8::100"),
            "16: 10.0.0.11 is not of the family of service `web`: write an IPv6 address, \
             or forward = \"ipip\"",
        ),
    ]);
}

#[test]
fn keys_that_do_not_go_together() {
    check(&[
        (
            "path of icmp",
            edit("\"http\"", "\"icmp\"\npath = \"/\""),
            "12: `path` has no meaning for kind `icmp`: remove it",
        ),
        (
            "port of icmp",
            edit("\"http\"", "\"icmp\"\nport = 80"),
            "12: `port` has no meaning for kind `icmp`: remove it",
        ),
        (
            "path of tcp",
            edit("\"http\"", "\"tcp\"\npath = \"/\""),
            "12: `path` has no meaning for kind `tcp`: remove it",
        ),
        (
            "a check of every port",
            edit("80", "0"),
            "10: missing key `port`: service `web` serves every port, write the one to check, as in port = 80",
        ),
        (
            "passive on every port",
            edit("port     = 80", "port = 0\npassive = true"),
            "8: passive = true, but the service is on every port, and a client that asks for one that \
             nobody serves would show that the backend is dead: write passive = false, or a port",
        ),
        (
            "passive in dsr",
            service("forward = \"dsr\"\npassive = false"),
            "9: `passive` with forward = \"dsr\", but it is for \"nat\" only: remove it",
        ),
        (
            "silence in dsr",
            service("forward = \"dsr\"\nsilence = \"off\""),
            "9: `silence` with forward = \"dsr\", but it is for \"nat\" only: remove it",
        ),
        (
            "another port in dsr",
            edit("80", "80\nforward = \"dsr\"")
                .replace("\"10.0.0.11\"", "\"10.0.0.11\"\nport = 8080"),
            "18: port 8080 with forward = \"dsr\", which cannot change it: write 80, or no port",
        ),
        (
            "passive in ipip",
            service("forward = \"ipip\"\npassive = true"),
            "9: `passive` with forward = \"ipip\", but it is for \"nat\" only: remove it",
        ),
        (
            "silence in gue",
            service("forward = \"gue\"\nsilence = \"1s\""),
            "9: `silence` with forward = \"gue\", but it is for \"nat\" only: remove it",
        ),
        (
            "passive in fullnat",
            service("forward = \"fullnat\"\npassive = true"),
            "9: `passive` with forward = \"fullnat\", but it is for \"nat\" only: remove it",
        ),
        (
            "another family in fullnat",
            service("forward = \"fullnat\"").replace("10.0.0.11", "2001:db8::11"),
            "17: 2001:db8::11 is not of the family of service `web`: write an IPv4 address, \
             or forward = \"ipip\"",
        ),
        (
            "another port in ipip",
            edit("80", "80\nforward = \"ipip\"")
                .replace("\"10.0.0.11\"", "\"10.0.0.11\"\nport = 8080"),
            "18: port 8080 with forward = \"ipip\", which cannot change it: write 80, or no port",
        ),
        (
            "another port in gue",
            edit("80", "80\nforward = \"gue\"")
                .replace("\"10.0.0.11\"", "\"10.0.0.11\"\nport = 8080"),
            "18: port 8080 with forward = \"gue\", which cannot change it: write 80, or no port",
        ),
        (
            "another family in dsr",
            service("forward = \"dsr\"").replace("10.0.0.11", "2001:db8::11"),
            "17: 2001:db8::11 is not of the family of service `web`: write an IPv4 address, \
             or forward = \"ipip\"",
        ),
        (
            "one port for every port",
            edit("80", "0")
                .replace("\"http\"", "\"icmp\"")
                .replace("\"10.0.0.11\"", "\"10.0.0.11\"\nport = 8080"),
            "17: port 8080 for service `web`, which serves every port: write no port",
        ),
    ]);
}
