//! The text of keys: a part stays a part, whatever bytes a client sends.

use proptest::prelude::*;
use tollgate::KeyText;

/// Bytes that mean something in a text, among others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![3 => prop::sample::select(b":%*!2A~".to_vec()), 1 => any::<u8>()], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Two pairs have one text only if they are equal, and no part tells that there are more.
    #[test]
    fn parts_do_not_run_into_each_other(a in (bytes(), bytes()), b in (bytes(), bytes())) {
        prop_assert_eq!(KeyText::of(&a) == KeyText::of(&b), a == b);
        let moved = ([&a.0[..], &a.1[..1.min(a.1.len())]].concat(), a.1[1.min(a.1.len())..].to_vec());
        prop_assert_eq!(KeyText::of(&a) == KeyText::of(&moved), a == moved);
        let joined = [&a.0[..], b":", &a.1].concat();
        prop_assert_ne!(KeyText::of(&a), KeyText::of(&joined));
    }

    /// The text is one of a plain alphabet, no part is empty, and none is longer than is said.
    #[test]
    fn any_bytes_are_plain_text(part in prop::collection::vec(any::<u8>(), 0..100)) {
        let text = KeyText::of(&part);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%".contains(&byte)), "{text}");
        prop_assert!((1..=(3 * part.len()).max(1)).contains(&text.len()));
        prop_assert_eq!(text.split(':').count(), 1);
        // Only the mark of an empty part has a `%` that no digits follow, and no bytes make the other marks.
        prop_assert_eq!(text == "%", part.is_empty());
    }
}

#[test]
fn a_pair_in_a_pair_is_a_triple() {
    assert_eq!(KeyText::of(&(("a", 1), "b")), KeyText::of(&("a", 1, "b")));
    assert_eq!(KeyText::of(&("a", (1, "b"))), "a:1:b");
    assert_eq!(KeyText::of(&("", "", "")), "%:%:%");
    assert_eq!(KeyText::of(&("", ())), "%:*");
}
