#![no_main]

use relstab_fuzz::Parser;

libfuzzer_sys::fuzz_target!(init: relstab_fuzz::start(), |bytes: &[u8]| relstab_fuzz::check(Parser::Part, bytes));
