//! What a token makes in signatures by itself: a loop over C_Sign with sessions side by side, straight through its module. `scripts/bench`
//! holds the signing of a zone with a key in the token against it.
//!
//! `cargo bench -p offline-ksk-keystore --features pkcs11 --bench token -- MODULE PIN COUNT SESSIONS` makes COUNT signatures over 32 octets with
//! the only private key of the only token, an EC key, and prints the seconds that they took.

use std::hint::black_box;
use std::time::Instant;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [module, pin, count, sessions] = words.as_slice() else {
        eprintln!("token: give the module, the PIN, the number of signatures and of sessions");
        std::process::exit(2);
    };
    let (count, sessions) =
        (count.parse::<u64>().expect("a number"), sessions.parse::<u64>().expect("a number"));
    let module = Pkcs11::new(module).expect("a module");
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("starts");
    let slots = module.get_slots_with_initialized_token().expect("slots");
    let slot = *slots.first().expect("a token");
    let first = module.open_ro_session(slot).expect("a session");
    first.login(UserType::User, Some(&AuthPin::from(pin.as_str()))).expect("the PIN");
    let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let key = *first.find_objects(&wanted).expect("objects").first().expect("a private key");
    let open: Vec<_> = (0..sessions).map(|_| module.open_ro_session(slot).expect("a session")).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (session, from) in open.into_iter().zip(0..) {
            scope.spawn(move || {
                let mut digest = [0x5a; 32];
                for number in (from..count).step_by(sessions as usize) {
                    digest[..8].copy_from_slice(&number.to_be_bytes());
                    black_box(session.sign(&Mechanism::Ecdsa, key, &digest).expect("a signature"));
                }
            });
        }
    });
    println!("{:.3}", start.elapsed().as_secs_f64());
}
