//! With the feature `generated`, writes the default model as Rust code, with its weights and without; without the
//! feature, does nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "generated")]
    generate();
}

// burn-import 0.21 is burn-onnx under its former name, and says so in a deprecation.
#[cfg(feature = "generated")]
#[allow(deprecated)]
fn generate() {
    use burn_import::onnx::{LoadStrategy, ModelGen};

    let model = "default/char_lm.onnx";
    println!("cargo::rerun-if-changed={model}");
    for (dir, weights) in [("model/", LoadStrategy::Embedded), ("code/", LoadStrategy::None)] {
        ModelGen::new().input(model).out_dir(dir).load_strategy(weights).simplify(false).run_from_script();
    }
}
