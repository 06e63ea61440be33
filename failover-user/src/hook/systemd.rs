//! A unit of this machine's systemd as a hook.

use futures_util::StreamExt as _;
use zbus::{Connection, OwnedObjectPath, proxy};

use super::HookError;
use crate::config::Verb;

/// What org.freedesktop.systemd1(5) says of process 1, as far as it is needed.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// Starts or stops the unit and waits until that is done. Who stops waiting leaves the
/// job to systemd: another one for the same unit joins it.
pub(super) async fn run(unit: &str, verb: Verb) -> Result<String, HookError> {
    let bus = Connection::system().await.map_err(HookError::Bus)?;
    let manager = ManagerProxy::new(&bus).await.map_err(HookError::Bus)?;
    // Before the job, which may end at once.
    let mut removed = manager
        .receive_job_removed()
        .await
        .map_err(HookError::Bus)?;
    manager.subscribe().await.map_err(refused)?;
    let path = match verb {
        Verb::Start => manager.start_unit(unit, "replace").await,
        Verb::Stop => manager.stop_unit(unit, "replace").await,
    };
    let path = path.map_err(refused)?;
    while let Some(signal) = removed.next().await {
        let ended = signal.args().map_err(HookError::Bus)?;
        if ended.job == path {
            let result = ended.result.clone();
            return match result.as_str() {
                "done" => Ok(result),
                _ => Err(HookError::Job {
                    unit: unit.to_owned(),
                    result,
                }),
            };
        }
    }
    Err(HookError::NoResult {
        unit: unit.to_owned(),
    })
}

/// What systemd answers is for people; what comes instead of an answer is about the bus.
fn refused(error: zbus::Error) -> HookError {
    match error {
        zbus::Error::MethodError(_, Some(words), _) => HookError::Refused(words),
        other => HookError::Bus(other),
    }
}
