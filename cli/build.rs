//! Links the binary at a fixed address.

fn main() {
    // Sixty thousand addresses in its data would have to be corrected at each start, which takes longer than all
    // that a small service does until it answers; and each pod would have its own copy of those pages.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
