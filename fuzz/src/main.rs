//! Built with `--cfg fuzzing` (by `cargo xtask fuzz`) it is libFuzzer around the target that an environment
//! variable names. Built plainly it runs files through a target, to look at what a fuzzer found.

#![cfg_attr(fuzzing, no_main)]

/// The target's name, as libFuzzer leaves no argument of its own to it.
#[cfg(fuzzing)]
const TARGET: &str = "SLIPWAY_FUZZ_TARGET";

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static RUN: std::sync::LazyLock<fn(&[u8])> = std::sync::LazyLock::new(|| {
        let name = std::env::var(TARGET).unwrap_or_default();
        slipway_fuzz::Target::named(&name).expect("cargo xtask fuzz names a target").run
    });
    RUN(input);
});

#[cfg(not(fuzzing))]
fn main() -> anyhow::Result<()> {
    use anyhow::Context;

    const USAGE: &str = "usage: slipway-fuzz TARGET FILE...; to fuzz: cargo xtask fuzz";
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().as_deref().and_then(slipway_fuzz::Target::named).context(USAGE)?;
    for file in arguments {
        let input = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
        println!("{file}: {} bytes", input.len());
        (target.run)(&input);
    }
    Ok(())
}
