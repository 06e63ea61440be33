//! News on their way through the agent: in from the data path, out to followers.

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use failover_common::News as Told;
use tokio::{
    io::unix::AsyncFd,
    sync::{broadcast, mpsc},
};

use crate::{api::Answer, event::Event};

/// The data path's ring buffer as a stream.
pub(super) struct News(AsyncFd<RingBuf<MapData>>);

impl News {
    pub(super) fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and keeps it until it is dropped.
        let registered = unsafe { AsyncFd::register(ring) };
        Ok(Self(registered?))
    }

    /// Looks into the ring before it waits: an agent that was not scheduled for a while
    /// finds a death there before its runtime has heard that there is something to read,
    /// and so before what others say of that death.
    pub(super) async fn next(&mut self) -> std::io::Result<Told> {
        loop {
            while let Some(item) = self.0.get_mut().next() {
                if let Ok(news) = bytemuck::try_pod_read_unaligned(&item) {
                    return Ok(news);
                }
            }
            // What comes in between is seen by the next look.
            self.0.readable_mut().await?.clear_ready();
        }
    }
}

/// Tells one client the past, and with `live` what happens from now on.
pub(super) async fn tell(
    past: Vec<Event>,
    live: Option<broadcast::Receiver<Event>>,
    answers: mpsc::Sender<Answer>,
) {
    for event in past {
        if answers.send(Answer::Event(event)).await.is_err() {
            return;
        }
    }
    let Some(mut live) = live else {
        // The client has gone: it is its loss.
        let _ = answers.send(Answer::End).await;
        return;
    };
    loop {
        match live.recv().await {
            Ok(event) => {
                if answers.send(Answer::Event(event)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Passes on what the program logs about single packets, until it is cancelled.
pub(super) async fn pass_on_log(logger: EbpfLogger<&'static dyn log::Log>) -> std::io::Result<()> {
    // SAFETY: the logger owns its descriptor and keeps it until it is dropped.
    let mut logger = unsafe { AsyncFd::register(logger) }?;
    loop {
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
