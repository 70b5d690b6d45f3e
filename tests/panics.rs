//! What happens to panics of others' code. A test of its own, as a process has one panic hook.

use bgz_fusion::exec::inner::caught;
use std::sync::atomic::{AtomicUsize, Ordering};

static SAID: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_panic_is_caught_without_a_word_and_others_are_not() {
    std::panic::set_hook(Box::new(|_| {
        SAID.fetch_add(1, Ordering::Relaxed);
    }));
    let said = || SAID.load(Ordering::Relaxed);
    assert_eq!(caught(|| 7), Ok(7));
    for n in 0..3 {
        assert_eq!(caught(|| panic!("no {}", "text")), Err::<(), _>("no text".into()));
        // One within the other.
        let twice = caught(|| {
            assert!(caught(|| panic!("within")).is_err_and(|e: String| e == "within"));
            panic!("after")
        });
        assert_eq!(twice, Err::<(), _>("after".into()));
        assert_eq!(said(), 2 * n);
        assert!(std::panic::catch_unwind(|| panic!("aloud")).is_err());
        // Of another thread, meanwhile.
        let other = caught(|| std::thread::spawn(|| panic!("aloud")).join().is_err());
        assert_eq!((other, said()), (Ok(true), 2 * n + 2));
    }
}
