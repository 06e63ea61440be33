//! What can be wrong about standbys and hooks.

/// See [`Problem`](super::Problem).
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum StandbyProblem {
    #[error(
        "`{hook}` says several things to do: write one of `command`, `http`, `systemd`, `wake`"
    )]
    SeveralActions { hook: &'static str },
    #[error(
        "`{hook}` says nothing to do: write `command`, `http` or `systemd`, as in \
         {hook} = {{ command = [\"/usr/local/sbin/{hook}\"] }}"
    )]
    NoAction { hook: &'static str },
    #[error(
        "`command` is empty: write the program and its arguments, as in \
         command = [\"/usr/local/sbin/promote\", \"db-b\"]"
    )]
    EmptyCommand,
    #[error("`http` is `{url}`: write http://ADDRESS:PORT/PATH, an IPv6 address in brackets")]
    Url { url: String },
    #[error(
        "`systemd` is `{unit}`: write the name of a unit and its kind, as in systemd = \"nginx.service\""
    )]
    Unit { unit: String },
    #[error(
        "`wake` is `{mac}`: write the hardware address of a card, as in wake = \"52:54:00:12:34:56\""
    )]
    Mac { mac: String },
    #[error(
        "`broadcast` is `{address}`: write the IPv4 broadcast address of the card's network, as in \
         broadcast = \"10.0.0.255\""
    )]
    Broadcast { address: String },
    #[error(
        "`wake` has a meaning for `start` only: a machine that wakes up does nothing else for sure"
    )]
    OnlyStart,
    #[error("an argument has a zero byte, which no program can be given: remove it")]
    Zero,
    #[error("timeout = \"{text}\" leaves no time for it: write timeout = \"30s\"")]
    NoTime { text: String },
    #[error("`required` has a meaning for `fence` only: remove it")]
    OnlyFence,

    #[error(
        "standby = \"warm\", but nothing promotes it: write promote = {{ command = [..] }}, or \
         standby = \"hot\" if it may serve at once"
    )]
    NoPromote,
    #[error("standby = \"cold\", but nothing starts it: write start = {{ command = [..] }}")]
    NoStart,
    #[error("`{key}` has a meaning for standby = \"cold\" only: remove it")]
    OnlyCold { key: &'static str },
    #[error("`stands_in_for` has a meaning for a warm or cold standby only: remove it")]
    HotStandsIn,
    #[error(
        "`{key}` has no effect, since no backend of service `{service}` is warm or cold: remove it"
    )]
    OnlyHot { key: &'static str, service: String },
    #[error(
        "during_switch = \"{word}\" with protocol = \"udp\", of which nothing is answered and \
         nobody's kernel tries again: remove it"
    )]
    Datagrams { word: &'static str },
    #[error("no backend of service `{service}` is hot, and somebody must serve first: write one")]
    NobodyHot { service: String },
    #[error(
        "a hot backend behind a warm or cold one would take over before it: write a `priority` \
         below {least}"
    )]
    HotBehind { least: u8 },
    #[error(
        "`{key}` for hot backend `{backend}`, but service `{service}` has several, which serve \
         without being promoted: remove it, or make all but one of them warm"
    )]
    SeveralHot {
        key: &'static str,
        backend: String,
        service: String,
    },
    #[error(
        "backend `{backend}` is also in service `{other}` (line {first}), and who is promoted is \
         decided by one service: give the server a second name there"
    )]
    Shared {
        backend: String,
        other: String,
        first: usize,
    },
    #[error("stands_in_for = \"{name}\": write another backend of the service: {present}")]
    StandsInForNobody { name: String, present: String },
}
