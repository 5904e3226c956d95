//! `photos`: metadata and small thumbnails, which are as incompressible as real ones.
use super::Table;
use crate::sample::calendar::{DAY, SECOND, TODAY, write_local};
use crate::sample::odd;
use crate::sample::plan::{Plan, Wedding};
use crate::sample::random::Random;
use crate::sample::rows::{Rows, write_uuid};
use std::io;

pub const PHOTOS: Table = Table {
    name: "photos",
    columns: "id, wedding_id, uploaded_by, storage_path, mime_type, width, height, size_bytes, taken_at, caption, tags, \
              exif, thumbnail, checksum, uploaded_at",
    partitioned: false,
    write,
};

const PHOTOS_PER_WEDDING: u64 = 6;
const JPEG_HEAD: [u8; 20] = *b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";

fn write(plan: &Plan, rows: &mut Rows<'_>) -> io::Result<()> {
    let random = &mut plan.random("photos");
    let mut thumbnail = Vec::new();
    for n in 0..plan.weddings * PHOTOS_PER_WEDDING {
        let wedding = plan.any_wedding(random);
        metadata(plan, rows, random, &wedding, n);
        exif(plan, rows, random);
        match random.chance(930) {
            true => {
                fill_thumbnail(&mut thumbnail, random);
                rows.bytes(&thumbnail);
            }
            false => rows.null(),
        }
        let digest = [random.bits(), random.bits(), random.bits(), random.bits()];
        rows.bytes(digest.map(u64::to_be_bytes).as_flattened());
        rows.moment((wedding.day.min(TODAY)) * DAY + random.between(0, 10 * DAY));
        rows.end()?;
    }
    Ok(())
}

fn metadata(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random, wedding: &Wedding<'_>, n: u64) {
    let id = random.uuid();
    rows.uuid(id);
    rows.uuid(wedding.id);
    rows.maybe(random.chance(850).then_some(()), |out, ()| write_uuid(out, plan.any_user_id(random)));
    let (kind, ending) = if random.chance(850) { ("image/jpeg", "jpg") } else { ("image/heic", "heic") };
    rows.with(|out| {
        out.extend_from_slice(b"weddings/");
        write_uuid(out, wedding.id);
        out.extend_from_slice(format!("/IMG_{:05}.{ending}", n * 7 % 100_000).as_bytes());
    });
    rows.plain(kind);
    let (width, height) = *random_size(random);
    rows.number(width);
    rows.number(height);
    rows.number(width * height / random.between(4, 14));
    let taken = wedding.ceremony + random.between(-3 * 3600, 9 * 3600) * SECOND;
    rows.maybe(random.chance(900).then_some(taken), write_local);
    match random.below(25) {
        0 => rows.text(odd::text(random)),
        1..12 => rows.with(|out| plan.vocabulary.write("caption", random, out)),
        _ => rows.null(),
    }
    rows.with(|out| {
        out.push(b'{');
        for n in 0..random.below(5) {
            out.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
            plan.vocabulary.write("tag", random, out);
            out.push(b'"');
        }
        out.push(b'}');
    });
}

fn random_size(random: &mut Random) -> &'static (i64, i64) {
    const SIZES: &[(i64, i64)] =
        &[(4032, 3024), (3024, 4032), (6000, 4000), (8256, 5504), (1920, 1080), (5184, 3456)];
    &SIZES[random.below(SIZES.len())]
}

fn exif(plan: &Plan, rows: &mut Rows<'_>, random: &mut Random) {
    rows.maybe(random.chance(850).then_some(()), |out, ()| {
        out.extend_from_slice(b"{\"camera\": \"");
        plan.vocabulary.write("camera", random, out);
        out.extend_from_slice(b"\", \"lens\": \"");
        plan.vocabulary.write("lens", random, out);
        let (iso, speed, latitude) =
            (random.between(1, 64) * 100, random.between(1, 8000), random.between(-9_000_000, 9_000_000));
        let text = format!(
            "\", \"iso\": {iso}, \"speed\": \"1/{speed}\", \"gps\": [{}, {}]}}",
            latitude as f64 / 1e5,
            speed as f64 / 64.0
        );
        out.extend_from_slice(text.as_bytes());
    });
}

fn fill_thumbnail(thumbnail: &mut Vec<u8>, random: &mut Random) {
    thumbnail.clear();
    thumbnail.extend_from_slice(&JPEG_HEAD);
    for _ in 0..random.between(30, 110) {
        thumbnail.extend_from_slice(&random.bits().to_le_bytes());
    }
    thumbnail.extend_from_slice(b"\xff\xd9");
}
