//! How much there is of everything, and the ids by which rows of different tables know each other.
//!
//! Ids follow from seed and number, so that a table can name the rows of another without having kept them. Only one
//! number per wedding is held in memory.
use super::calendar::{DAY, SECOND, TODAY};
use super::person::Person;
use super::random::{Random, Uuid};
use super::vocabulary::{Culture, Vocabulary};

/// The extent of one sample.
pub struct Plan {
    pub seed: u64,
    pub scale: u64,
    pub vocabulary: Vocabulary,
    pub weddings: u64,
    pub users: u64,
    pub vendors: u64,
    pub suppliers: u64,
    /// Guest ids of wedding n are those from `first_guest[n]` to before `first_guest[n + 1]`.
    first_guest: Vec<u64>,
}

/// What several tables must agree on about one wedding.
pub struct Wedding<'v> {
    pub number: u64,
    pub id: Uuid,
    pub owner: u64,
    pub couple: [Person<'v>; 2],
    /// Days since 1970.
    pub day: i64,
    /// When the ceremony begins, in microseconds since 1970.
    pub ceremony: i64,
    pub first_guest: u64,
    pub guests: u64,
}

impl Plan {
    /// The plan of a scale; scale 1 is about 25 MB.
    pub fn new(scale: u32, seed: u64) -> Self {
        let scale = u64::from(scale);
        let weddings = scale * 400;
        let mut first_guest = vec![1];
        let mut next = 1;
        for number in 0..weddings {
            next += Random::of(seed, "party", number).between(24, 132) as u64;
            first_guest.push(next);
        }
        let vocabulary = Vocabulary::new();
        let (users, vendors, suppliers) = (scale * 2000, scale * 200, scale * 120);
        Self { seed, scale, vocabulary, weddings, users, vendors, suppliers, first_guest }
    }

    /// The numbers of one table.
    pub fn random(&self, table: &str) -> Random {
        Random::of(self.seed, table, 0)
    }

    /// The id of user n (from 0).
    pub fn user_id(&self, n: u64) -> Uuid {
        Random::of(self.seed, "user", n).uuid()
    }

    /// The id of any user.
    pub fn any_user_id(&self, random: &mut Random) -> Uuid {
        self.user_id(random.below(self.users as usize) as u64)
    }

    /// The id of form n (0 or 1) of a wedding.
    pub fn form_id(&self, wedding: u64, n: u64) -> Uuid {
        Random::of(self.seed, "form", wedding * 2 + n).uuid()
    }

    /// The id of any vendor.
    pub fn any_vendor(&self, random: &mut Random) -> i64 {
        random.between(1, self.vendors as i64)
    }

    /// Any wedding.
    pub fn any_wedding(&self, random: &mut Random) -> Wedding<'_> {
        self.wedding(random.below(self.weddings as usize) as u64)
    }

    /// All weddings in order.
    pub fn all_weddings(&self) -> impl Iterator<Item = Wedding<'_>> {
        (0..self.weddings).map(|number| self.wedding(number))
    }

    /// Wedding n (from 0).
    pub fn wedding(&self, number: u64) -> Wedding<'_> {
        let mut random = Random::of(self.seed, "wedding", number);
        let id = random.uuid();
        let one = Person::any(&self.vocabulary, &mut random);
        let other = match random.chance(650) {
            true => Person::of(one.culture, &mut random),
            false => Person::any(&self.vocabulary, &mut random),
        };
        let day = TODAY + random.between(-900, 600);
        let ceremony = day * DAY + random.between(40, 72) * 900 * SECOND;
        let owner = random.below(self.users as usize) as u64;
        let first_guest = self.first_guest[number as usize];
        let guests = self.first_guest[number as usize + 1] - first_guest;
        Wedding { number, id, owner, couple: [one, other], day, ceremony, first_guest, guests }
    }
}

impl<'v> Wedding<'v> {
    /// The id of any of its guests.
    pub fn any_guest(&self, random: &mut Random) -> i64 {
        (self.first_guest + random.below(self.guests as usize) as u64) as i64
    }

    /// The culture of one side of the family.
    pub fn any_culture(&self, random: &mut Random) -> &'v Culture {
        self.couple[random.below(2)].culture
    }

    /// A moment of its planning: within a year before the day, and not after the sample's present.
    pub fn planning_moment(&self, random: &mut Random) -> i64 {
        let end = self.day.min(TODAY) * DAY;
        end - random.between(1, 400 * DAY)
    }
}
