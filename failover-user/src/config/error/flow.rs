//! What can be wrong about flows.

/// See [`Problem`](super::Problem).
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum FlowProblem {
    #[error(
        "on_failure = \"{word}\" with protocol = \"udp\", whose flows always go on to the next \
         backend: remove it"
    )]
    Datagrams { word: &'static str },
    #[error(
        "failback = \"drain\" with a warm or cold standby, and two that serve at the same time are \
         worse than none: write failback = \"auto\""
    )]
    TwoServe,
    #[error(
        "`weight` of backend `{backend}`, which is alone in its tier: remove it, or write the same \
         `priority` for those that it shares with"
    )]
    LoneWeight { backend: String },
    #[error("`weight` with a warm or cold standby, where one backend serves at a time: remove it")]
    WeightOfOne,
}
