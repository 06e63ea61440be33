use std::path::Path;

use super::{Config, Error};

mod accepted;
mod arbitrary;
mod conflicts;
mod durations;
mod file;
mod flow;
mod heartbeat;
mod standby;
mod values;

/// A valid file. Tests of errors change one place of it.
const VALID: &str = r#"[agent]
interfaces = ["eth0"]

[[service]]
name     = "web"
address  = "10.0.0.100"
port     = 80
protocol = "tcp"

[[service.check]]
kind     = "http"
interval = "500ms"

[[service.backend]]
name    = "web-a"
address = "10.0.0.11"

[[service.backend]]
name    = "web-b"
address = "10.0.0.12"

[[service]]
name     = "dns"
address  = "10.0.0.101"
port     = 53
protocol = "udp"

[[service.backend]]
name    = "dns-a"
address = "10.0.0.21"
"#;

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/f.toml"))
}

/// [`VALID`] with the first `old` in it replaced.
fn edit(old: &str, new: &str) -> String {
    assert!(VALID.contains(old), "{old:?} is not in the file");
    VALID.replacen(old, new, 1)
}

/// Every row: what it shows, the file, and the whole message without the file's
/// name.
fn check<T: AsRef<str>>(rows: &[(&str, T, &str)]) {
    for (description, text, expected) in rows {
        let message = match parse(text.as_ref()) {
            Ok(config) => panic!("{description}: accepted as {config:#?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(message, format!("/f.toml:{expected}"), "{description}");
    }
}
