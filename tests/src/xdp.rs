//! The XDP programs of the lab's own: `pass`, `freeze` and `reflect`.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::namespace::Namespace;

/// What an interface does with each frame that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Hands it to the stack.
    Pass,
    /// Drops it.
    Freeze,
    /// Answers it if it is an IPv4 echo request, and otherwise hands it to the stack.
    Reflect,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Freeze => "freeze",
            Self::Reflect => "reflect",
        }
    }
}

/// The loaded programs, shared by all interfaces of a lab.
#[derive(Clone)]
pub(crate) struct Programs {
    object: Arc<Mutex<Ebpf>>,
}

impl Programs {
    pub(crate) fn load() -> Result<Self> {
        // The programs need nothing of the kernel's types; reading them (the
        // default) takes longer than building the rest of the lab.
        let mut object = EbpfLoader::new()
            .btf(None)
            .load(aya::include_bytes_aligned!(env!("LAB_OBJECT")))
            .context("cannot read the lab's BPF object")?;
        for program in [Program::Pass, Program::Freeze, Program::Reflect] {
            find(&mut object, program)?
                .load()
                .with_context(|| format!("cannot load XDP program {}", program.name()))?;
        }
        Ok(Self {
            object: Arc::new(Mutex::new(object)),
        })
    }

    /// Attaches [`Program::Pass`] in native mode until the port is dropped.
    pub(crate) fn attach(&self, namespace: &Namespace, interface: &str) -> Result<Port> {
        let link = namespace.run(|| {
            let mut object = self.object.lock().unwrap_or_else(PoisonError::into_inner);
            let program = find(&mut object, Program::Pass)?;
            let id = program.attach(interface, XdpMode::Driver)?;
            anyhow::Ok(program.take_link(id)?)
        });
        let link = link
            .with_context(|| format!("cannot attach XDP to {interface} in {}", namespace.name()))?;
        Ok(Port {
            programs: self.clone(),
            link: Mutex::new(Some(link)),
        })
    }
}

/// An interface with one of the programs attached.
pub(crate) struct Port {
    programs: Programs,
    /// None only if a swap failed.
    link: Mutex<Option<XdpLink>>,
}

impl Port {
    /// Replaces the program atomically: no frame sees neither.
    pub(crate) fn swap(&self, program: Program) -> Result<()> {
        let mut slot = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let link = slot.take().context("an earlier swap lost the XDP link")?;
        let mut object = self
            .programs
            .object
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let program = find(&mut object, program)?;
        let id = program.attach_to_link(link)?;
        *slot = Some(program.take_link(id)?);
        Ok(())
    }
}

fn find(object: &mut Ebpf, program: Program) -> Result<&mut Xdp> {
    let name = program.name();
    let found = object
        .program_mut(name)
        .with_context(|| format!("no XDP program {name}"))?;
    Ok(found.try_into()?)
}
