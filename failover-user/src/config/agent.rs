//! `[agent]`.

use std::{collections::HashSet, path::PathBuf};

use toml::Spanned;

use super::{
    Agent, Origin, XdpMode, damping,
    error::{Error, Problem},
    flow, raw,
    source::Source,
    value::{self, SOCKET_LEN},
};

const PIN_PATH: &str = "/sys/fs/bpf/failover";
const STATE: &str = "/var/lib/failover";
const API: &str = "/run/failover.sock";

/// Validates the table.
pub(super) fn agent(raw: Spanned<raw::Agent>, source: Source<'_>) -> Result<Agent, Error> {
    let table = raw.span();
    let raw::Agent {
        interfaces,
        xdp_mode,
        pin_path,
        api,
        api_group,
        state,
        flows,
        damping,
    } = raw.into_inner();

    let raw = value::required(interfaces, "interfaces", "[\"eth0\"]", &table, source)?;
    let (interfaces, interface_lines) = self::interfaces(raw, source)?;
    let xdp_modes = [
        ("auto", XdpMode::Auto),
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
    ];
    let xdp_mode = value::keyword_or(XdpMode::Auto, xdp_mode, "xdp_mode", &xdp_modes, source)?;
    let pin_path = match pin_path {
        Some(path) => value::path(&path, "pin_path", PIN_PATH, source)?,
        None => PIN_PATH.into(),
    };
    let api = self::api(api, source)?;
    let state = match state {
        Some(path) => value::path(&path, "state", STATE, source)?,
        None => STATE.into(),
    };
    let flows = flow::most(flows, source)?;
    let damping = damping.map(|raw| damping::spec(raw, source)).transpose()?;
    if let Some(group) = api_group
        .as_ref()
        .filter(|group| group.get_ref().is_empty())
    {
        let problem = Problem::Empty {
            key: "api_group",
            example: "adm",
        };
        return Err(source.error(group.span(), problem));
    }
    let api_group = api_group.map(Spanned::into_inner);
    let origin = Origin {
        file: source.file.to_owned(),
        interface_lines,
    };
    Ok(Agent {
        interfaces,
        xdp_mode,
        pin_path,
        api,
        api_group,
        state,
        flows,
        damping,
        origin,
    })
}

fn interfaces(
    raw: Spanned<Vec<Spanned<String>>>,
    source: Source<'_>,
) -> Result<(Vec<String>, Vec<usize>), Error> {
    let array = raw.span();
    let raw = raw.into_inner();
    if raw.is_empty() {
        return Err(source.error(array, Problem::NoInterfaces));
    }
    let mut seen = HashSet::new();
    for name in &raw {
        value::interface(name, source)?;
        if !seen.insert(name.get_ref()) {
            let problem = Problem::InterfaceTwice {
                name: name.get_ref().clone(),
            };
            return Err(source.error(name.span(), problem));
        }
    }
    let lines = raw.iter().map(|name| source.line(name.span())).collect();
    Ok((raw.into_iter().map(Spanned::into_inner).collect(), lines))
}

fn api(raw: Option<Spanned<String>>, source: Source<'_>) -> Result<PathBuf, Error> {
    let Some(raw) = raw else {
        return Ok(API.into());
    };
    let len = raw.get_ref().len();
    if len > SOCKET_LEN {
        return Err(source.error(raw.span(), Problem::SocketTooLong { len }));
    }
    value::path(&raw, "api", API, source)
}
