//! Texts that break careless programs; one is strewn in now and then.
use super::random::Random;

const TEXTS: &[&str] = &[
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    "null",
    "line one\nline two\n",
    "column\tcolumn\ttab",
    "C:\\Users\\Ute\\Hochzeit\\",
    "carriage\r\nreturn",
    "she said \"yes\", and {so} 'he' did",
    "it's 50% off; -- '); DROP TABLE guests;",
    "💍🎉 can't wait!!! 🥂👰🏽‍♀️🤵🏼",
    "👩‍❤️‍💋‍👨 forever 🏳️‍🌈",
    "ألف مبروك للعروسين! نتمنى لكما حياة سعيدة",
    "מזל טוב! נתראה בחתונה בשעה 19:30",
    "mixed עברית and العربية and English, 12 טבלה",
    "\u{202e}turned around\u{202c}",
    "e\u{301}e\u{301} is not éé",
    "zero\u{200b}width\u{feff}",
    "新郎新婦、おめでとうございます。末永くお幸せに。",
    "恭喜恭喜！百年好合，早生贵子",
    "शादी की बहुत बहुत शुभकामनाएँ",
    "<script>alert(\"rsvp\")</script>&amp;",
    "{\"not\": [\"json\", {},",
    "trailing space ",
    "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} + 1 plus one?",
    "Vegan 🌱\n\t- no honey\n\t- \\o/ \n",
];

/// An awkward text: empty, of control characters, quotes, right to left, or beyond the basic plane.
pub fn text(random: &mut Random) -> &'static str {
    random.pick(TEXTS)
}
