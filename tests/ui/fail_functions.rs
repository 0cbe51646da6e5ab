//! Functions that can't be memoized, whatever their types.

use memopool::memo;

#[memo]
async unsafe fn future() {}

#[memo]
const fn constant() {}

#[memo]
unsafe fn conditions() {}

#[memo]
extern "C" fn foreign() {}

#[memo]
unsafe extern "C" fn several_reasons(_: u8) {}

#[memo]
fn generic<T: Clone>(value: T) -> usize {
    size_of_val(&value)
}

#[memo]
fn array<'a, const N: usize>(bytes: &'a [u8; N]) -> usize {
    bytes.len()
}

#[memo]
#[rustfmt::skip]
fn crowded(
    _1: u8, _2: u8, _3: u8, _4: u8, _5: u8, _6: u8, _7: u8, _8: u8,
    _9: u8, _10: u8, _11: u8, _12: u8, _13: u8, _14: u8, _15: u8, _16: u8, _17: u8,
) {}

#[memo]
fn std(values: &[f64]) -> f64 {
    values.iter().sum()
}

#[memo(name = "parsed")]
fn str(text: &str) -> usize {
    text.len()
}

#[memo]
fn r#bool() {}

struct Lexer;

impl Lexer {
    #[memo]
    fn borrowed(&self) {}

    #[memo]
    fn owned(self, _text: &str) {}

    #[memo]
    fn exclusive(self: &mut Self) {}

    #[memo]
    fn associated(n: u64) -> Option<Self> {
        (n > 0).then_some(Self)
    }

    #[memo]
    fn by_type(lexers: Vec<Self>) -> usize {
        lexers.len()
    }
}

trait Lex {
    #[memo]
    fn required(&self);
}

#[memo]
struct NotAFunction;

#[memo]
mod not_a_function {}

#[memo]
static NOT_A_FUNCTION: u8 = 1;

fn main() {}
