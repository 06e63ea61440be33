//! Which services keep flows, and what becomes of those whose backend dies.

use std::ops::Range;

use failover_common::{MAX_FLOWS, OnFailure};
use toml::Spanned;

use super::{
    Failback, Protocol, Service,
    error::{Error, FlowProblem, Problem},
    source::Source,
    value,
};

/// Fewest flows that there is room for: with less, one busy client would use them up.
const MIN_FLOWS: i64 = 1024;

const MAX_WEIGHT: u8 = 100;

/// The keys of a service that are about flows.
pub(super) struct Draft<'a> {
    on_failure: Option<Spanned<OnFailure>>,
    /// Where `failback` is written, if it is.
    failback: Option<Range<usize>>,
    /// Weights that are written, with the tier and the name of the backend.
    weights: Vec<(u8, String, Range<usize>)>,
    source: Source<'a>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        on_failure: Option<Spanned<String>>,
        failback: Option<Range<usize>>,
        source: Source<'a>,
    ) -> Result<Self, Error> {
        let choices = OnFailure::ALL.map(|it| (it.name(), it));
        let on_failure = on_failure.map(|raw| {
            let value = value::keyword(&raw, "on_failure", &choices, source)?;
            Ok(Spanned::new(raw.span(), value))
        });
        Ok(Self {
            on_failure: on_failure.transpose()?,
            failback,
            weights: Vec::new(),
            source,
        })
    }

    /// The weight of a backend of the tier `priority`.
    pub(super) fn weight(
        &mut self,
        raw: Option<Spanned<i64>>,
        priority: u8,
        name: &str,
    ) -> Result<u8, Error> {
        let Some(raw) = raw else {
            return Ok(1);
        };
        let weight = value::number(&raw, "weight", 1, MAX_WEIGHT, self.source)?;
        self.weights.push((priority, name.to_owned(), raw.span()));
        Ok(weight)
    }

    /// What the service does, which is complete but for that.
    pub(super) fn finish(self, service: &Service) -> Result<OnFailure, Error> {
        let error =
            |place: Range<usize>, problem| Err(self.source.error(place, Problem::Flow(problem)));
        for (tier, backend, place) in &self.weights {
            let mut members = service.backends.iter();
            if service.standby.is_some() {
                return error(place.clone(), FlowProblem::WeightOfOne);
            }
            if members.by_ref().filter(|it| it.priority == *tier).count() == 1 {
                let backend = backend.clone();
                return error(place.clone(), FlowProblem::LoneWeight { backend });
            }
        }
        if service.failback == Failback::Drain && service.standby.is_some() {
            let place = self.failback.clone().unwrap_or_default();
            return error(place, FlowProblem::TwoServe);
        }
        match (service.protocol, &self.on_failure) {
            (Protocol::Udp, Some(written)) => match written.get_ref() {
                OnFailure::Forward => Ok(OnFailure::Forward),
                other @ (OnFailure::Reset | OnFailure::Drop) => {
                    let word = other.name();
                    error(written.span(), FlowProblem::Datagrams { word })
                }
            },
            (Protocol::Tcp, Some(written)) => Ok(*written.get_ref()),
            // Where flows are known anyway, the client need not learn it from a stranger.
            (Protocol::Tcp, None) if service.keeps_flows() => Ok(OnFailure::Reset),
            (Protocol::Tcp | Protocol::Udp, None) => Ok(OnFailure::Forward),
        }
    }
}

/// `flows` of `[agent]`.
pub(super) fn most(raw: Option<Spanned<i64>>, source: Source<'_>) -> Result<u32, Error> {
    let Some(raw) = raw else {
        return Ok(failover_common::FLOWS);
    };
    value::number(&raw, "flows", MIN_FLOWS, MAX_FLOWS, source)
}
