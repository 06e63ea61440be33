//! The file as such, its tables and keys, and what the host has.

use std::{fs, path::Path};

use super::{Config, VALID, check, edit, parse};

#[test]
fn keys_and_tables() {
    check(&[
        (
            "empty file",
            String::new(),
            "1: missing table `[agent]`: write it with interfaces = [\"eth0\"]",
        ),
        (
            "no service",
            "\n[agent]\ninterfaces = [\"eth0\"]".into(),
            "2: missing service: write at least one [[service]]",
        ),
        (
            "no backend",
            edit(
                "[[service.backend]]\nname    = \"dns-a\"\naddress = \"10.0.0.21\"\n",
                "",
            ),
            "22: service `dns` has no backend: write at least one [[service.backend]]",
        ),
        (
            "unknown table",
            edit("[agent]", "[agents]"),
            "1: unknown key `agents`: expected `agent` or `service`",
        ),
        (
            "unknown key of the agent, of later work",
            edit("[agent]\n", "[agent]\nmetrics = \"127.0.0.1:9464\"\n"),
            "2: unknown key `metrics`: expected one of `interfaces`, `xdp_mode`, `pin_path`, `api`, `api_group`, `state`, `flows`, `damping`",
        ),
        (
            "unknown key of a service",
            edit("protocol", "prot"),
            "8: unknown key `prot`: expected one of `name`, `address`, `port`, `protocol`, `forward`, `failback`, \
             `hold_down`, `on_failure`, `passive`, `silence`, `takeovers_per_hour`, `patience`, `ready_timeout`, `during_switch`, `start`, `promote`, `fence`, `demote`, `stop`, `notify`, `heartbeat`, `check`, `ready`, `backend`",
        ),
        (
            "a table of later work",
            edit("[[service.check]]", "[service.hooks]"),
            "10: unknown key `hooks`: expected one of `name`, `address`, `port`, `protocol`, `forward`, \
             `failback`, `hold_down`, `on_failure`, `passive`, `silence`, `takeovers_per_hour`, `patience`, `ready_timeout`, `during_switch`, `start`, `promote`, `fence`, `demote`, `stop`, `notify`, `heartbeat`, `check`, `ready`, `backend`",
        ),
        (
            "unknown key of a check",
            edit("interval", "every"),
            "12: unknown key `every`: expected one of `kind`, `port`, `path`, `interval`, `timeout`, `fall`, `rise`",
        ),
        (
            "unknown key of a backend, its control characters escaped",
            edit("name    =", "\"a\\u0007, expected b\" ="),
            "15: unknown key `a\\u{7}, expected b`: expected one of `name`, `address`, `port`, `priority`, `weight`, `standby`, `stands_in_for`, `start`, `promote`, `fence`, `demote`, `stop`",
        ),
        (
            "key twice",
            edit("port     = 80", "port = 80\nport = 81"),
            "8: duplicate key `port`: write it once",
        ),
        (
            "table twice",
            edit("[[service]]", "[agent]\n[[service]]"),
            "4: duplicate key `agent`: write it once",
        ),
        (
            "no interfaces",
            edit("interfaces = [\"eth0\"]", ""),
            "1: missing key `interfaces`: write interfaces = [\"eth0\"]",
        ),
        (
            "no name",
            edit("name     = \"web\"\n", ""),
            "4: missing key `name`: write name = \"db\"",
        ),
        (
            "no address",
            edit("address  = \"10.0.0.100\"\n", ""),
            "4: missing key `address`: write address = \"10.0.0.100\"",
        ),
        (
            "no port",
            edit("port     = 80\n", ""),
            "4: missing key `port`: write port = 80, or 0 for every port",
        ),
        (
            "no kind",
            edit("kind     = \"http\"\n", ""),
            "10: missing key `kind`: write kind = \"icmp\"",
        ),
        (
            "no backend name",
            edit("name    = \"web-b\"\n", ""),
            "18: missing key `name`: write name = \"db-a\"",
        ),
        (
            "no backend address",
            edit("address = \"10.0.0.12\"\n", ""),
            "18: missing key `address`: write address = \"10.0.0.11\"",
        ),
    ]);
}

#[test]
fn types_and_syntax() {
    check(&[
        (
            "syntax",
            edit("port     = 80", "port     = "),
            "7: not TOML: string values must be quoted, expected literal string",
        ),
        (
            "no value",
            edit("port     = 80", "port"),
            "7: not TOML: key with no value, expected `=`",
        ),
        (
            "no end",
            edit("[\"eth0\"]", "[\"eth0\""),
            "4: not TOML: missing comma between array elements, expected `,`",
        ),
        (
            "text for a number",
            edit("80", "\"80\""),
            "7: found `\"80\"`: write a whole number",
        ),
        (
            "fraction for a number",
            edit("80", "80.5"),
            "7: found `80.5`: write a whole number",
        ),
        (
            "more than any port",
            edit("80", "99999999999999999999"),
            "7: found `99999999999999999999`: write a whole number",
        ),
        (
            "more than any number",
            edit("80", &"9".repeat(40)),
            "7: not TOML: integer number overflowed",
        ),
        (
            "much text for a number",
            edit("80", &format!("\"{}\"", "\u{fc}".repeat(60))),
            &format!(
                "7: found `\"{}...`: write a whole number",
                "\u{fc}".repeat(39)
            ),
        ),
        (
            "number for text",
            edit("\"web\"", "5"),
            "5: found `5`: write a string",
        ),
        (
            "boolean for a duration",
            edit("\"500ms\"", "true"),
            "12: found `true`: write a duration with its unit, as in \"500ms\"",
        ),
        (
            "text for a boolean",
            edit("port     = 80", "port = 80\npassive = \"off\""),
            "8: found `\"off\"`: write true or false",
        ),
        (
            "boolean for a silence",
            edit("port     = 80", "port = 80\nsilence = false"),
            "8: found `false`: write a duration with its unit, as in \"500ms\"",
        ),
        (
            "text for an array",
            edit("[\"eth0\"]", "\"eth0\""),
            "2: found `\"eth0\"`: write an array",
        ),
        (
            "one table",
            edit("[[service.check]]", "[service.check]"),
            "10: `[service.check]` can be there more than once: write [[service.check]]",
        ),
        (
            "value for a table",
            "agent = \"a\"\n".into(),
            "1: found `\"a\"`: write a table",
        ),
    ]);
}

#[test]
fn a_file_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let message = |name: &str, content: Option<&[u8]>| {
        let path = directory.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = Config::load(&path).unwrap_err().to_string();
        error
            .strip_prefix(path.to_str().unwrap())
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        message("not-there", None),
        ": no such file: write it, or name another one"
    );
    assert_eq!(
        message("", None),
        "/: cannot read it: Is a directory (os error 21)".replacen('/', "", 1)
    );
    assert_eq!(
        message("latin1", Some(b"# M\xfcnchen\n[agent]\n")),
        ":1: not UTF-8 at byte 3: save the file as UTF-8"
    );
    assert_eq!(
        message("later", Some(b"[agent]\napi = \"/run/\xff\"\n")),
        ":2: not UTF-8 at byte 20: save the file as UTF-8"
    );
    assert_eq!(
        message("typo", Some(b"[agent]\ninterface = []\n")),
        ":2: unknown key `interface`: expected one of `interfaces`, `xdp_mode`, `pin_path`, `api`, `api_group`, `state`, `flows`, `damping`"
    );

    let path = directory.path().join("good");
    fs::write(&path, VALID).unwrap();
    assert_eq!(Config::load(&path).unwrap(), parse(VALID).unwrap());
}

#[test]
fn an_interface_that_does_not_exist() {
    let text = edit("[\"eth0\"]", "[\n  \"eth0\",\n  \"eth7\",\n]");
    let config = Config::parse(&text, Path::new("/etc/failover.toml")).unwrap();
    let present = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        config
            .check_interfaces(&names)
            .map_err(|error| error.to_string())
    };
    assert_eq!(present(&["lo", "eth0", "eth7"]), Ok(()));
    assert_eq!(
        present(&["lo", "eth0", "eth1"]).unwrap_err(),
        "/etc/failover.toml:4: no interface `eth7`: interfaces here: `lo`, `eth0`, `eth1`"
    );
    assert_eq!(
        present(&["lo", "eth7"]).unwrap_err(),
        "/etc/failover.toml:3: no interface `eth0`: interfaces here: `lo`, `eth7`"
    );
}
