//! Compiles the shim (`shim/lib.rs`) with the compiler that compiles this crate.
//!
//! It cannot be a dependency: its exported symbols would be linked into every test binary, and a nested
//! package would be left out by `cargo package`.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unplug_shim)");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        // `Recorder::start` says so with an error of its own.
        return;
    }
    let out = PathBuf::from(var("OUT_DIR")).join("libunplug_shim.so");
    let status = Command::new(var("RUSTC"))
        .args(["--crate-name", "unplug_shim", "--crate-type", "cdylib", "--edition", "2024"])
        .args(["--target", &var("TARGET"), "-Cpanic=abort", "-Cforce-frame-pointers=yes"])
        // A shim without optimisation is two to three times slower, so every profile optimises it.
        .args(["-Copt-level=3", "-Ccodegen-units=1", "-Cstrip=debuginfo"])
        .args(["-Clink-arg=-Wl,-z,initfirst", "-Clink-arg=-Wl,-z,now"])
        .arg("-o")
        .arg(&out)
        .arg("shim/lib.rs")
        .status();
    match status {
        Ok(status) if status.success() => println!("cargo::rustc-cfg=unplug_shim"),
        Ok(status) => {
            println!("cargo::error=the shim does not compile: {status}");
        }
        Err(error) => println!("cargo::error=cannot run the compiler for the shim: {error}"),
    }
}
