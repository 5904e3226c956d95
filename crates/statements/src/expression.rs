//! Conditions and values that come to the same in every session and at every time: of one column and constants.

use crate::column::{READ_ALIKE, is_of, string};
use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, AExpr, AExprKind, FuncCall, Node, TypeCast, a_const};

/// Functions of one value, which no setting of a session changes.
const FUNCTIONS: [&str; 8] =
    ["abs", "btrim", "char_length", "character_length", "length", "lower", "octet_length", "upper"];

/// Texts that some type reads as another time each time.
const TIMES: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Whether it is a condition on rows, or a value of a row, that is plain.
pub(crate) fn is_plain_expression(expression: &Node) -> bool {
    columns(expression).is_some()
}

/// A constant that each type reads alike in every session. A text with digits may be a date, which `DateStyle` decides over.
pub(crate) fn is_plain_constant(constant: &AConst) -> bool {
    let is_alike = |text: &str| {
        let is_time = |word: &str| TIMES.iter().any(|time| time.eq_ignore_ascii_case(word));
        !text.contains(|one: char| one.is_ascii_digit()) && !text.split_whitespace().any(is_time)
    };
    match &constant.val {
        Some(a_const::Val::Sval(text)) => is_alike(&text.sval),
        Some(a_const::Val::Bsval(_)) => false,
        Some(_) | None => true,
    }
}

/// A constant with a type that reads any text alike.
pub(crate) fn is_plain_cast(cast: &TypeCast) -> bool {
    let Some(NodeEnum::AConst(constant)) = cast.arg.as_ref().and_then(|arg| arg.node.as_ref()) else {
        return false;
    };
    let Some(type_name) = cast.type_name.as_ref() else { return false };
    let is_written = matches!(constant.val, Some(a_const::Val::Sval(_) | a_const::Val::Bsval(_)));
    is_of(type_name, &READ_ALIKE) && type_name.array_bounds.is_empty() && is_written
}

/// How many columns it compares with each other, which is one at most: two may be of types between which the time zone
/// decides. `None` where it is not plain.
fn columns(expression: &Node) -> Option<usize> {
    let all = |nodes: &[Node]| nodes.iter().map(columns).sum::<Option<usize>>();
    match expression.node.as_ref()? {
        NodeEnum::ColumnRef(column) => match column.fields.as_slice() {
            [name] => string(name).map(|_| 1),
            _ => None,
        },
        NodeEnum::AConst(constant) => is_plain_constant(constant).then_some(0),
        NodeEnum::TypeCast(cast) => is_plain_cast(cast).then_some(0),
        NodeEnum::List(list) => all(&list.items),
        NodeEnum::AArrayExpr(array) => all(&array.elements),
        NodeEnum::CoalesceExpr(found) => all(&found.args),
        NodeEnum::FuncCall(call) => called(call),
        NodeEnum::AExpr(found) => compared(found),
        // What is true or false of each is so of all together.
        NodeEnum::BoolExpr(found) => all(&found.args).map(|_| 0),
        NodeEnum::NullTest(test) => columns(test.arg.as_ref()?).map(|_| 0),
        NodeEnum::BooleanTest(test) => columns(test.arg.as_ref()?).map(|_| 0),
        _ => None,
    }
    .filter(|columns| *columns <= 1)
}

fn called(call: &FuncCall) -> Option<usize> {
    let beside = FuncCall {
        funcname: call.funcname.clone(),
        args: call.args.clone(),
        funcformat: call.funcformat,
        location: call.location,
        ..FuncCall::default()
    };
    let [name] = call.funcname.as_slice() else { return None };
    let [arg] = call.args.as_slice() else { return None };
    (*call == beside && FUNCTIONS.contains(&string(name)?)).then(|| columns(arg))?
}

fn compared(found: &AExpr) -> Option<usize> {
    let kinds = [
        AExprKind::AexprOp,
        AExprKind::AexprOpAny,
        AExprKind::AexprOpAll,
        AExprKind::AexprDistinct,
        AExprKind::AexprNotDistinct,
        AExprKind::AexprIn,
        AExprKind::AexprLike,
        AExprKind::AexprIlike,
        AExprKind::AexprBetween,
        AExprKind::AexprNotBetween,
    ];
    let [operator] = found.name.as_slice() else { return None };
    string(operator)?;
    let left = found.lexpr.as_ref().map_or(Some(0), |side| columns(side))?;
    kinds.contains(&found.kind()).then(|| Some(left + columns(found.rexpr.as_ref()?)?))?
}
