fn main() -> anyhow::Result<()> {
    // SAFETY: a build script has one thread here.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf") };
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../failover-ebpf");
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "failover-ebpf",
            root_dir: dir,
            ..Default::default()
        }],
        aya_build::Toolchain::Custom("bpf"),
    )?;
    println!("cargo::metadata=objects={}", std::env::var("OUT_DIR")?);
    Ok(())
}
