//! Why an operator's word changed nothing.

use thiserror::Error;

use crate::{policy, promotion};

/// Why an operator's word changed nothing.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// No such service.
    #[error("no service `{0}`: failover status lists them")]
    NoService(String),
    /// No such backend in the service.
    #[error("service `{service}` has no backend `{backend}`: it has {present}")]
    NoBackend {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// What there is.
        present: String,
    },
    /// The policy refuses.
    #[error("service `{service}` stays where it is: {refusal}")]
    Refused {
        /// The service.
        service: String,
        /// Why.
        refusal: policy::Refusal,
    },
    /// The promotion refuses.
    #[error("service `{service}` stays where it is: {refusal}")]
    NotPromoted {
        /// The service.
        service: String,
        /// Why.
        refusal: promotion::Refusal,
    },
    /// No such backend at all.
    #[error("no backend `{0}`: failover status lists them")]
    NobodyOfThatName(String),
    /// Nothing keeps the backend out.
    #[error("backend `{0}` is neither drained nor disabled")]
    Enabled(String),
}
