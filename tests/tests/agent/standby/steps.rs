//! A service whose hooks write down what they do, and kill the agent if a test wants it:
//! nothing of the agent is changed for that.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context as _, Result};
use lab::{
    Agent, Family, Lab, Options, Server, client::TcpClient, machine, server::Protocol, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Scripts, config};
use crate::world::{PORT, REQUEST, SOON};

/// Nothing goes back by itself.
pub(super) const MANUAL: &str = "failback = \"manual\"";
/// It does at once.
pub(super) const AUTO: &str = "hold_down = \"100ms\"";

/// When in a hook the agent is killed, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It is not.
    Never,
    /// The hook dies too, and has done nothing.
    Before,
    /// The hook has done all, and nobody was told.
    After,
}

/// A primary and a standby, an agent, and hooks of all kinds.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) scripts: Scripts,
    _primary: Server,
    /// A cold one is started by its hook.
    _standby: Option<Server>,
    pub(super) lab: Lab,
}

impl World {
    /// `kind` is that of the standby, `keys` are of the service. The hook `killer` kills
    /// the agent.
    pub(super) fn new(kind: &str, keys: &str, (killer, when): (&str, When)) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let primary = Server::start(&lab.primary, Protocol::Tcp, PORT)?;
        let mut hooks = vec![("fence", ""), ("promote", ""), ("demote", "")];
        let start;
        let standby = if kind == "cold" {
            start = start_script(&lab)?;
            hooks.push(("start", &start));
            hooks.push((
                "stop",
                "[ ! -e $DIR/pid ] || kill $(cat $DIR/pid); rm -f $DIR/pid",
            ));
            None
        } else {
            Some(Server::start(&lab.standby, Protocol::Tcp, PORT)?)
        };
        let scripts = Scripts::new()?;
        let deadly = "[ -e $DIR/killed ] || { touch $DIR/killed; kill -9 $PPID; exit 1; }";
        let mut keys = format!("{keys}\n");
        for (name, work) in hooks {
            let when = if name == killer { when } else { When::Never };
            let (before, after) = match when {
                When::Never => ("", ""),
                When::Before => (deadly, ""),
                When::After => ("", deadly),
            };
            let log = format!("echo {name} $FAILOVER_BACKEND >> $DIR/runs");
            let path = scripts.add(name, &format!("{before}\n{work}\n{log}\n{after}"))?;
            writeln!(keys, "{name}.command = [{path:?}]")?;
        }
        let standby_keys = format!("standby = \"{kind}\"");
        let agent = Agent::start(&lab, &config(&lab, PORT, &keys, "", &standby_keys))?;
        let world = Self {
            agent,
            scripts,
            _primary: primary,
            _standby: standby,
            lab,
        };
        world.served_by("primary")?;
        Ok(world)
    }

    /// Waits until this one answers.
    pub(super) fn served_by(&self, name: &str) -> Result<()> {
        wait::until(SOON, &format!("{name} answers"), || {
            self.answerer().as_deref() == Some(name)
        })
        .with_context(|| self.agent.log())
    }

    /// Who answers a request to the service.
    pub(super) fn answerer(&self) -> Option<String> {
        let vip = SocketAddr::new(self.lab.vip(Family::V4), PORT);
        let answer = TcpClient::connect(&self.lab.client, vip, REQUEST)
            .and_then(|mut client| client.request("hello", REQUEST));
        Some(answer.ok()?.strip_suffix(" hello")?.to_owned())
    }

    /// Waits until a hook has killed the agent.
    pub(super) fn killed(&mut self) -> Result<()> {
        wait::until(SOON, "the agent is killed", || self.agent.pid().is_none())
            .with_context(|| self.agent.log())
    }

    /// What was run: hook and backend.
    pub(super) fn runs(&self) -> Vec<String> {
        self.scripts.lines("runs")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What a hook has started is nobody's child.
        if let Some(Ok(pid)) = self.scripts.lines("pid").first().map(|pid| pid.parse()) {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Starts the standby's server, unless that is done.
fn start_script(lab: &Lab) -> Result<String> {
    Ok(format!(
        "[ -e $DIR/pid ] || {{ setsid ip netns exec {host} {server} --name standby \
         --bind-address {address} tcp {PORT} >/dev/null 2>&1 </dev/null & echo $! > $DIR/pid; }}",
        host = lab.standby.namespace().name(),
        server = machine::binary("lab-server")?.display(),
        address = lab.standby.address(Family::V4),
    ))
}
