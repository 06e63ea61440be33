//! Tells the library and the benchmarks where the BPF objects of the lab were built.

fn main() {
    // Set by the build script of failover-user, which builds all BPF objects.
    let objects = std::env::var("DEP_FAILOVER_EBPF_OBJECTS")
        .expect("failover-user does not say where its BPF objects are");
    println!("cargo::rustc-env=LAB_OBJECT={objects}/lab");
    println!("cargo::rustc-env=HARNESS_OBJECT={objects}/harness");
}
