//! What `#[memo]` accepts, and what it says about the rest.
//!
//! `tests/ui/pass_*.rs` compile and run. `tests/ui/fail_*.rs` don't compile, and beside each stands what the compiler
//! says. After a change of a message, `TRYBUILD=overwrite` writes these texts anew: read the difference before you keep it.

#[test]
fn memo_ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass_*.rs");
    cases.compile_fail("tests/ui/fail_*.rs");
}
