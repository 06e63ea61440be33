//! What happens to the primary, and to the agent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use lab::{Agent, Forward, clock};
use nix::sys::signal::Signal;

use super::system::System;
use super::world::World;

/// How long the agent is away before the primary fails: long enough for every
/// heartbeat and check that was under way to be over.
const AWAY: Duration = Duration::from_millis(50);

/// How long nothing moves before the agent comes back.
const STANDSTILL: Duration = Duration::from_millis(150);

/// In `cut-then-agent-stopped`, between the two: from none to this.
pub(super) const LATEST_STOP: Duration = Duration::from_micros(500);

/// What is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// The primary's cable is pulled.
    LinkCut,
    /// The primary drops whatever arrives, without a sound.
    HostFrozen,
    /// The server is killed; measured from when its port closes. Until then its
    /// kernel accepts what nobody will answer.
    ProcessKilled,
    /// The server is stopped: its kernel still accepts, nobody answers.
    ProcessStopped,
    /// The agent is stopped, then the cable pulled.
    AgentStopped,
    /// The agent is killed, then the cable pulled.
    AgentKilled,
    /// The cable is pulled, then, before that can have been noticed, the agent
    /// stopped.
    CutThenAgentStopped,
    /// The agent is stopped and the cable pulled; measured from when it goes on.
    AgentResumed,
    /// The agent is killed and the cable pulled; measured from its next start.
    AgentRestarted,
}

impl Fault {
    pub(super) const ALL: [Self; 9] = [
        Self::LinkCut,
        Self::HostFrozen,
        Self::ProcessKilled,
        Self::ProcessStopped,
        Self::AgentStopped,
        Self::AgentKilled,
        Self::CutThenAgentStopped,
        Self::AgentResumed,
        Self::AgentRestarted,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LinkCut => "link-cut",
            Self::HostFrozen => "host-frozen",
            Self::ProcessKilled => "process-killed",
            Self::ProcessStopped => "process-stopped",
            Self::AgentStopped => "agent-stopped",
            Self::AgentKilled => "agent-killed",
            Self::CutThenAgentStopped => "cut-then-agent-stopped",
            Self::AgentResumed => "agent-resumed",
            Self::AgentRestarted => "agent-restarted",
        }
    }

    /// Whether there is something to measure. Without its agent `nat` does not
    /// wait for it to come back, and `dsr`, which does not see the answers, does
    /// nothing else. A proxy that is stopped is an outage by itself.
    pub(super) fn applies(self, system: System, forward: Forward) -> bool {
        match self {
            Self::LinkCut => true,
            Self::HostFrozen | Self::ProcessKilled | Self::ProcessStopped => {
                forward == Forward::Nat
            }
            Self::AgentStopped | Self::AgentKilled | Self::CutThenAgentStopped => {
                system.has_agent() && forward == Forward::Nat
            }
            Self::AgentResumed | Self::AgentRestarted => {
                system.has_agent() && forward == Forward::Dsr
            }
        }
    }

    /// Causes it; the moment just before, or of it. `after` is when the agent stops in
    /// [`Fault::CutThenAgentStopped`].
    pub(super) fn cause(self, world: &mut World, after: Duration) -> Result<u64> {
        match self {
            Self::LinkCut => world.lab.primary.cut_link(),
            Self::HostFrozen => world.lab.primary.freeze(),
            Self::ProcessKilled => world.kill_primary(),
            Self::ProcessStopped => world.primary.stop(),
            Self::AgentStopped => {
                world.agent()?.signal(Signal::SIGSTOP)?;
                thread::sleep(AWAY);
                world.lab.primary.cut_link()
            }
            Self::AgentKilled => {
                world.agent()?.kill9()?;
                thread::sleep(AWAY);
                world.lab.primary.cut_link()
            }
            Self::CutThenAgentStopped => cut_then_stop(world, after),
            Self::AgentResumed => {
                world.agent()?.signal(Signal::SIGSTOP)?;
                thread::sleep(AWAY);
                world.lab.primary.cut_link()?;
                thread::sleep(STANDSTILL);
                world.agent()?.signal(Signal::SIGCONT)
            }
            Self::AgentRestarted => {
                world.agent()?.kill9()?;
                thread::sleep(AWAY);
                world.lab.primary.cut_link()?;
                thread::sleep(STANDSTILL);
                let before = clock::now_ns();
                world.agent()?.restart()?;
                Ok(before)
            }
        }
    }

    /// Undoes it.
    pub(super) fn repair(self, world: &mut World) -> Result<()> {
        match self {
            Self::LinkCut | Self::AgentRestarted => drop(world.lab.primary.restore_link()?),
            Self::HostFrozen => drop(world.lab.primary.thaw()?),
            // One that was stopped has a queue of requests nobody waits for.
            Self::ProcessKilled | Self::ProcessStopped => world.primary.restart()?,
            Self::AgentStopped | Self::CutThenAgentStopped | Self::AgentResumed => {
                world.lab.primary.restore_link()?;
                world.agent()?.signal(Signal::SIGCONT)?;
            }
            Self::AgentKilled => {
                world.lab.primary.restore_link()?;
                world.agent()?.restart()?;
            }
        }
        Ok(())
    }
}

/// Two threads, because pulling the cable returns when the kernel is done with
/// it, long after the agent is to stop.
fn cut_then_stop(world: &mut World, after: Duration) -> Result<u64> {
    let moment = AtomicU64::new(0);
    let after = u64::try_from(after.as_nanos())?;
    let (lab, agent) = world.lab_and_agent()?;
    thread::scope(|scope| {
        let cut = scope.spawn(|| lab.primary.cut_link_announced(&moment));
        let stopped = stop_after(agent, &moment, after, || cut.is_finished());
        let cut = cut.join().ok().context("pulling the cable panicked")??;
        stopped.map(|()| cut)
    })
}

/// Spins: no sleep is as precise.
fn stop_after(
    agent: &Agent,
    moment: &AtomicU64,
    after_ns: u64,
    failed: impl Fn() -> bool,
) -> Result<()> {
    let cut = loop {
        match moment.load(Ordering::Acquire) {
            0 if failed() => break clock::now_ns(),
            0 => std::hint::spin_loop(),
            cut => break cut,
        }
    };
    while clock::now_ns() < cut + after_ns {
        std::hint::spin_loop();
    }
    agent.signal(Signal::SIGSTOP)?;
    Ok(())
}
