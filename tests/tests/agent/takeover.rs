//! Whatever happens to the primary, the standby answers; nobody is left hanging.

use std::io::ErrorKind;

use anyhow::{Result, ensure};
use lab::{Forward, Options};

use crate::world::{SOON, World};

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server's process dies, its host lives.
    ProcessKilled,
    /// The cable is pulled.
    LinkCut,
    /// The host drops whatever arrives.
    HostFrozen,
}

/// The standby answers for every family and protocol; a client with an
/// established connection learns that it is over; the primary gets the services
/// back when it has recovered.
fn check(options: Options, fault: Fault) -> Result<()> {
    let mut world = World::new(options, "hold_down = \"300ms\"")?;
    let connections = world.connections()?;
    match fault {
        Fault::ProcessKilled => {
            for server in &mut world.primary {
                server.kill()?;
            }
        }
        Fault::LinkCut => drop(world.lab.primary.cut_link()?),
        Fault::HostFrozen => drop(world.lab.primary.freeze()?),
    }
    world.served_by("standby")?;
    for mut connection in connections {
        let answer = connection.request("still there?", SOON);
        let error = answer.expect_err("the old connection is over");
        ensure!(
            !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock),
            "the client hangs: {error}"
        );
    }
    match fault {
        Fault::ProcessKilled => {
            for server in &mut world.primary {
                server.restart()?;
            }
        }
        Fault::LinkCut => drop(world.lab.primary.restore_link()?),
        Fault::HostFrozen => drop(world.lab.primary.thaw()?),
    }
    world.served_by("primary")
}

macro_rules! takeovers {
    ($($name:ident: $forward:ident, $two_armed:literal, $fault:ident;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            let options = Options {
                forward: Forward::$forward,
                two_armed: $two_armed,
                ..Options::default()
            };
            check(options, Fault::$fault)
        }
    )*};
}

takeovers! {
    nat_process_killed: Nat, false, ProcessKilled;
    nat_link_cut: Nat, false, LinkCut;
    nat_host_frozen: Nat, false, HostFrozen;
    nat_two_armed_process_killed: Nat, true, ProcessKilled;
    nat_two_armed_link_cut: Nat, true, LinkCut;
    nat_two_armed_host_frozen: Nat, true, HostFrozen;
    dsr_process_killed: Dsr, false, ProcessKilled;
    dsr_link_cut: Dsr, false, LinkCut;
    dsr_host_frozen: Dsr, false, HostFrozen;
}
