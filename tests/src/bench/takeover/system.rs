//! What is measured: us with different settings, and the peer.

use std::time::Duration;

use clap::ValueEnum;
use lab::Forward;

use super::client::Traffic;
use crate::settings::Settings;

/// A system under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum System {
    /// Ours with the heartbeats of the command line.
    Failover,
    /// Ours as it is without a word about heartbeats in the configuration.
    FailoverDefault,
    /// `HAProxy`, the fastest it can be set to.
    Haproxy,
    /// The same, with more patience for a connection to be made.
    Haproxy5ms,
}

impl System {
    /// For tables and pictures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::FailoverDefault => "failover (default)",
            Self::Haproxy => "haproxy (connect 1ms)",
            Self::Haproxy5ms => "haproxy (connect 5ms)",
        }
    }

    pub(super) fn has_agent(self) -> bool {
        match self {
            Self::Failover | Self::FailoverDefault => true,
            Self::Haproxy | Self::Haproxy5ms => false,
        }
    }

    /// `HAProxy` 2.6 forwards neither datagrams nor by DSR.
    pub(super) fn can(self, traffic: Traffic, forward: Forward) -> bool {
        self.has_agent() || (traffic != Traffic::Udp && forward == Forward::Nat)
    }

    /// How often it asks a backend for a sign of life, and how long it waits for
    /// one.
    pub(super) fn pace(self, settings: Settings) -> (Duration, Duration) {
        match self {
            Self::Failover => (settings.interval, settings.timeout),
            Self::FailoverDefault => (Settings::DEFAULT.interval, Settings::DEFAULT.timeout),
            Self::Haproxy | Self::Haproxy5ms => (super::haproxy::INTERVAL, self.connect_timeout()),
        }
    }

    /// How long `HAProxy` waits for a connection before it tries the other server.
    pub(super) fn connect_timeout(self) -> Duration {
        match self {
            Self::Haproxy5ms => Duration::from_millis(5),
            Self::Failover | Self::FailoverDefault | Self::Haproxy => Duration::from_millis(1),
        }
    }
}
