//! The smallest binary that can be a shim, for the tests of the runtime.

fn main() {
    node_agent::shim::intercept();
    eprintln!("this program only serves tests, as a pod's shim");
    std::process::exit(2);
}
