//! The broker's configuration file: an answer for any text, and what is taken is written and read as the same again.

use fulmar_config::{Override, OverrideValue, Source, check, load};

use crate::dice::Dice;

/// The first byte says how much of it is a setting of the command line, the rest is the file's text.
pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let setting = usize::from(dice.byte());
    let setting = String::from_utf8_lossy(dice.bytes(setting));
    let text = String::from_utf8_lossy(dice.rest());
    match check(&text) {
        Ok(config) => {
            let written = config.to_yaml();
            assert_eq!(check(&written), Ok(config), "{written}");
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
    let (path, value) = setting.split_once('=').unwrap_or((&setting, ""));
    let (value, source) = (OverrideValue::Yaml(value.to_owned()), Source::Environment("FULMAR_FUZZ".to_owned()));
    if let Err(errors) = load(Some(&text), &[Override { path: path.to_owned(), value, source }]) {
        assert!(!errors.is_empty());
        errors.iter().for_each(|error| assert!(!error.to_string().is_empty()));
    }
}
