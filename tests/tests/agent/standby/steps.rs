//! A service whose hooks write down what they do, and kill the agent if a test wants it:
//! nothing of the agent is changed for that.

use std::{fmt::Write as _, net::SocketAddr};

use super::config;
use crate::world::{PORT, REQUEST, SOON};
use anyhow::{Context as _, Result};
use lab::{
    Agent, Family, Lab, Options, Scripts, Server, client::TcpClient, server::Protocol, wait,
};

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
        let scripts = Scripts::new()?;
        let standby = if kind == "cold" {
            let address = lab.standby.address(Family::V4);
            scripts.add_server("nginx-on-b", &lab.standby, address, ("tcp", PORT))?;
            hooks.push(("start", "$DIR/nginx-on-b systemctl start nginx"));
            hooks.push(("stop", "$DIR/nginx-on-b systemctl stop nginx"));
            None
        } else {
            Some(Server::start(&lab.standby, Protocol::Tcp, PORT)?)
        };
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
