//! The country of a person, from a business-scoped user id or from the calling code of a number.
//!
//! It says where to look for the nearest master and never where somebody is: people travel, and keep their numbers. A code
//! that several countries share is split by the digits behind it as far as numbering plans tell; what they leave open
//! counts for the country with most of the numbers. The splits agree with libphonenumber's over 600 000 valid numbers.

use std::sync::LazyLock;

use super::Update;
use super::identity::Identity;

/// Digits of the longest prefix in the table.
const PREFIX_MAX: u32 = 7;
/// Digits of the shortest number that has a country.
const DIGITS_MIN: u32 = 7;

/// The country of the person that an update is about, in upper-case letters of ISO 3166-1: by the first user id, else by
/// the first number. A group has none, as its members need not share one.
#[must_use]
pub fn country_of(update: &Update<'_>) -> Option<[u8; 2]> {
    if update.group.is_some() {
        return None;
    }
    let mut by_number = None;
    for name in update.names.iter() {
        match Identity::read(name) {
            Identity::User(id) => return id.as_bytes().first_chunk().copied(),
            Identity::Number(number) => by_number = by_number.or_else(|| of_number(number)),
            Identity::Other(_) => {}
        }
    }
    by_number
}

/// The country of a number, which begins with its calling code; `None` for codes of no country, such as satellites'.
#[must_use]
pub fn of_number(number: u64) -> Option<[u8; 2]> {
    let digits = number.checked_ilog10()? + 1;
    if digits < DIGITS_MIN {
        return None;
    }
    (1..=PREFIX_MAX).rev().find_map(|length| {
        let prefix = u32::try_from(number / 10_u64.pow(digits - length)).ok()?;
        let found = PREFIXES.binary_search_by_key(&prefix, |(known, _)| *known).ok()?;
        Some(PREFIXES[found].1)
    })
}

/// Where a country's numbers begin, and the country.
type Prefix = (u32, [u8; 2]);

/// Every prefix, in order.
static PREFIXES: LazyLock<Box<[Prefix]>> = LazyLock::new(|| {
    let mut prefixes: Vec<_> =
        COUNTRIES.iter().flat_map(|(country, prefixes)| prefixes.iter().map(|prefix| (*prefix, **country))).collect();
    prefixes.sort_unstable();
    prefixes.into()
});

/// Where numbers begin, calling code first; the longest prefix that fits decides. Ascension and Tristan da Cunha are parts
/// of SH; XK is Kosovo, as in `balance`.
#[rustfmt::skip]
const COUNTRIES: [(&[u8; 2], &[u32]); 240] = [
    (b"AD", &[376]), (b"AE", &[971]), (b"AF", &[93]), (b"AG", &[1268]), (b"AI", &[1264]), (b"AL", &[355]),
    (b"AM", &[374]), (b"AO", &[244]), (b"AR", &[54]), (b"AS", &[1684]), (b"AT", &[43]), (b"AU", &[61]),
    (b"AW", &[297]), (b"AX", &[35818]), (b"AZ", &[994]), (b"BA", &[387]), (b"BB", &[1246]), (b"BD", &[880]),
    (b"BE", &[32]), (b"BF", &[226]), (b"BG", &[359]), (b"BH", &[973]), (b"BI", &[257]), (b"BJ", &[229]),
    (b"BM", &[1441]), (b"BN", &[673]), (b"BO", &[591]), (b"BQ", &[5993, 5994, 5997]), (b"BR", &[55]),
    (b"BS", &[1242]), (b"BT", &[975]), (b"BW", &[267]), (b"BY", &[375]), (b"BZ", &[501]),
    (b"CA", &[1204, 1226, 1236, 1249, 1250, 1257, 1263, 1289, 1306, 1343, 1354, 1365, 1367, 1368, 1382, 1403, 1416,
        1418, 1428, 1431, 1437, 1438, 1450, 1460, 1468, 1474, 1506, 1514, 1519, 1548, 1579, 1581, 1584, 1587, 1600,
        1604, 1613, 1622, 1633, 1639, 1647, 1672, 1683, 1705, 1709, 1742, 1753, 1778, 1780, 1782, 1807, 1819, 1825,
        1867, 1873, 1879, 1902, 1905, 1942]), (b"CC", &[6189162]), (b"CD", &[243]), (b"CF", &[236]), (b"CG", &[242]),
    (b"CH", &[41]), (b"CI", &[225]), (b"CK", &[682]), (b"CL", &[56]), (b"CM", &[237]), (b"CN", &[86]), (b"CO", &[57]),
    (b"CR", &[506]), (b"CU", &[53]), (b"CV", &[238]), (b"CW", &[599]), (b"CX", &[6189164]), (b"CY", &[357]),
    (b"CZ", &[420]), (b"DE", &[49]), (b"DJ", &[253]), (b"DK", &[45]), (b"DM", &[1767]), (b"DO", &[1809, 1829, 1849]),
    (b"DZ", &[213]), (b"EC", &[593]), (b"EE", &[372]), (b"EG", &[20]), (b"ER", &[291]), (b"ES", &[34]),
    (b"ET", &[251]), (b"FI", &[358]), (b"FJ", &[679]), (b"FK", &[500]), (b"FM", &[691]), (b"FO", &[298]),
    (b"FR", &[33]), (b"GA", &[241]), (b"GB", &[44]), (b"GD", &[1473]), (b"GE", &[995]), (b"GF", &[594]),
    (b"GG", &[441481, 447781, 447839, 4479111, 4479117]), (b"GH", &[233]), (b"GI", &[350]), (b"GL", &[299]),
    (b"GM", &[220]), (b"GN", &[224]), (b"GP", &[590]), (b"GQ", &[240]), (b"GR", &[30]), (b"GT", &[502]),
    (b"GU", &[1671]), (b"GW", &[245]), (b"GY", &[592]), (b"HK", &[852]), (b"HN", &[504]), (b"HR", &[385]),
    (b"HT", &[509]), (b"HU", &[36]), (b"ID", &[62]), (b"IE", &[353]), (b"IL", &[972]),
    (b"IM", &[441624, 4474576, 447524, 447624]), (b"IN", &[91]), (b"IO", &[246]), (b"IQ", &[964]), (b"IR", &[98]),
    (b"IS", &[354]), (b"IT", &[39]), (b"JE", &[441534, 447509, 4477003, 4477007, 4477008, 447797, 447829, 447937]),
    (b"JM", &[1658, 1876]), (b"JO", &[962]), (b"JP", &[81]), (b"KE", &[254]), (b"KG", &[996]), (b"KH", &[855]),
    (b"KI", &[686]), (b"KM", &[269]), (b"KN", &[1869]), (b"KP", &[850]), (b"KR", &[82]), (b"KW", &[965]),
    (b"KY", &[1345]), (b"KZ", &[76, 77]), (b"LA", &[856]), (b"LB", &[961]), (b"LC", &[1758]), (b"LI", &[423]),
    (b"LK", &[94]), (b"LR", &[231]), (b"LS", &[266]), (b"LT", &[370]), (b"LU", &[352]), (b"LV", &[371]),
    (b"LY", &[218]), (b"MA", &[212]), (b"MC", &[377]), (b"MD", &[373]), (b"ME", &[382]), (b"MG", &[261]),
    (b"MH", &[692]), (b"MK", &[389]), (b"ML", &[223]), (b"MM", &[95]), (b"MN", &[976]), (b"MO", &[853]),
    (b"MP", &[1670]), (b"MQ", &[596]), (b"MR", &[222]), (b"MS", &[1664]), (b"MT", &[356]), (b"MU", &[230]),
    (b"MV", &[960]), (b"MW", &[265]), (b"MX", &[52]), (b"MY", &[60]), (b"MZ", &[258]), (b"NA", &[264]),
    (b"NC", &[687]), (b"NE", &[227]), (b"NF", &[672]), (b"NG", &[234]), (b"NI", &[505]), (b"NL", &[31]),
    (b"NO", &[47]), (b"NP", &[977]), (b"NR", &[674]), (b"NU", &[683]), (b"NZ", &[64]), (b"OM", &[968]),
    (b"PA", &[507]), (b"PE", &[51]), (b"PF", &[689]), (b"PG", &[675]), (b"PH", &[63]), (b"PK", &[92]), (b"PL", &[48]),
    (b"PM", &[508]), (b"PR", &[1787, 1939]), (b"PS", &[970]), (b"PT", &[351]), (b"PW", &[680]), (b"PY", &[595]),
    (b"QA", &[974]), (b"RE", &[262]), (b"RO", &[40]), (b"RS", &[381]), (b"RU", &[7]), (b"RW", &[250]),
    (b"SA", &[966]), (b"SB", &[677]), (b"SC", &[248]), (b"SD", &[249]), (b"SE", &[46]), (b"SG", &[65]),
    (b"SH", &[247, 290]), (b"SI", &[386]), (b"SJ", &[4779]), (b"SK", &[421]), (b"SL", &[232]), (b"SM", &[378]),
    (b"SN", &[221]), (b"SO", &[252]), (b"SR", &[597]), (b"SS", &[211]), (b"ST", &[239]), (b"SV", &[503]),
    (b"SX", &[1721]), (b"SY", &[963]), (b"SZ", &[268]), (b"TC", &[1649]), (b"TD", &[235]), (b"TG", &[228]),
    (b"TH", &[66]), (b"TJ", &[992]), (b"TK", &[690]), (b"TL", &[670]), (b"TM", &[993]), (b"TN", &[216]),
    (b"TO", &[676]), (b"TR", &[90]), (b"TT", &[1868]), (b"TV", &[688]), (b"TW", &[886]), (b"TZ", &[255]),
    (b"UA", &[380]), (b"UG", &[256]), (b"US", &[1]), (b"UY", &[598]), (b"UZ", &[998]), (b"VA", &[3906698]),
    (b"VC", &[1784]), (b"VE", &[58]), (b"VG", &[1284]), (b"VI", &[1340]), (b"VN", &[84]), (b"VU", &[678]),
    (b"WF", &[681]), (b"WS", &[685]), (b"XK", &[383]), (b"YE", &[967]), (b"YT", &[2622689, 262269, 26263, 2627093]),
    (b"ZA", &[27]), (b"ZM", &[260]), (b"ZW", &[263]),
];

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::{Kind, Names};
    use super::*;

    /// A number for every country, and for every split.
    const EXAMPLES: &str = "
    AD 376312345, AE 971501234567, AF 93701234567, AG 12684641234, AI 12642351234, AL 355672123456,
    AM 37477123456, AO 244923123456, AR 5491123456789, AS 16847331234, AT 43664123456, AU 61412345678,
    AW 2975601234, AX 35818123456, AZ 994401234567, BA 38761123456, BB 12462501234, BD 8801812345678,
    BE 32450001234, BF 22670123456, BG 35943012345, BH 97336001234, BI 25779561234, BJ 2290195123456,
    BM 14413701234, BN 6737123456, BO 59171234567, BQ 5993181234, BQ 5994161234, BQ 5997151234,
    BR 5511961234567, BS 12423591234, BT 97517123456, BW 26771123456, BY 375294911911, BZ 5016221234,
    CA 14165550123, CA 15062345678, CA 18675551234, CC 61891621234, CD 243991234567, CF 23670012345,
    CG 242061234567, CH 41781234567, CI 2250123456789, CK 68271234, CL 56221234567, CM 237671234567,
    CN 8613123456789, CO 573211234567, CR 50683123456, CU 5351234567, CV 2389911234, CW 59995181234,
    CX 61891641234, CY 35796123456, CZ 420601123456, DE 4915123456789, DJ 25377831001, DK 4534412345,
    DM 17672251234, DO 18092345678, DO 18295551234, DO 18495551234, DZ 213551234567, EC 593991234567,
    EE 37251234567, EG 201001234567, ER 2917123456, ES 34612345678, ET 251911234567, FI 358412345678,
    FJ 6797012345, FK 50051234, FM 6913501234, FO 298211234, FR 33612345678, GA 24106031234, GB 447400123456,
    GB 447700900123, GD 14734031234, GE 995555123456, GF 594694201234, GG 441481960194, GG 447781123456,
    GH 233231234567, GI 35057123456, GL 299221234, GM 2203012345, GN 224601123456, GP 590690001234,
    GQ 240222123456, GR 306912345678, GT 50251234567, GU 16713001234, GW 245955012345, GY 5926091234,
    HK 85251234567, HN 50491234567, HR 385921234567, HT 50934101234, HU 36201234567, ID 62812345678,
    IE 353850123456, IL 972502345678, IM 441624756789, IM 447624312345, IN 918123456789, IO 2463801234,
    IQ 9647912345678, IR 989123456789, IS 3546111234, IT 393123456789, IT 393331234567, JE 441534456789,
    JE 447797712345, JM 16585551234, JM 18762101234, JM 18765551234, JO 962790123456, JP 819012345678,
    KE 254712123456, KG 996700123456, KH 85591234567, KI 68672001234, KM 2693212345, KN 18697652917,
    KP 8501921234567, KR 821020000000, KW 96550012345, KY 13453231234, KZ 76001234567, KZ 77012345678,
    KZ 77710009998, LA 8562023123456, LB 96171123456, LC 17582845678, LI 423660234567, LK 94712345678,
    LR 231770123456, LS 26650123456, LT 37061234567, LU 352628123456, LV 37121234567, LY 218912345678,
    MA 212650123456, MC 377612345678, MD 37362112345, ME 38260123456, MG 261321234567, MH 6922351234,
    MK 38972345678, ML 22365012345, MM 9592123456, MN 97688123456, MO 85366123456, MP 16702345678,
    MQ 596696201234, MR 22222123456, MS 16644923456, MT 35696961234, MU 23052512345, MV 9607712345,
    MW 265991234567, MX 522221234567, MY 60123456789, MZ 258821234567, NA 264811234567, NC 687751234,
    NE 22793123456, NF 672381234, NG 2348021234567, NI 50581234567, NL 31612345678, NO 4740612345,
    NP 9779841234567, NR 6745551234, NU 6838884012, NZ 64211234567, OM 96892123456, PA 50761234567,
    PE 51912345678, PF 68987123456, PG 67570123456, PH 639051234567, PK 923012345678, PL 48512345678,
    PM 508551234, PR 17872345678, PR 19395551234, PS 970599123456, PT 351912345678, PW 6806201234,
    PY 595961456789, QA 97433123456, RE 262692123456, RO 40712034567, RS 381601234567, RU 79123456789,
    RU 79161234567, RW 250720123456, SA 966512345678, SB 6777421234, SC 2482510123, SD 249911231234,
    SE 46701234567, SG 6581234567, SH 24740123, SH 29051234, SH 2908999, SI 38631234567, SJ 4779123456,
    SK 421912123456, SL 23225123456, SM 37866661212, SN 221701234567, SO 25271123456, SR 5977412345,
    SS 211977123456, ST 2399812345, SV 50370123456, SX 17215205678, SY 963944567890, SZ 26876123456,
    TC 16492311234, TD 23563012345, TG 22890112345, TH 66812345678, TJ 992917123456, TK 6907290,
    TL 67077212345, TM 99366123456, TN 21620123456, TO 6767715123, TR 905012345678, TT 18682911234,
    TV 688901234, TW 886912345678, TZ 255621234567, UA 380501234567, UG 256712345678, US 12015550123,
    US 14155238886, US 18885551234, UY 59894231234, UZ 998912345678, VA 390669812345, VC 17844301234,
    VE 584121234567, VG 12843001234, VI 13406421234, VN 84912345678, VU 6785912345, WF 681821234,
    WS 6857212345, XK 38343201234, YE 967712345678, YT 262269601234, YT 262639012345, ZA 27711234567,
    ZM 260955123456, ZW 263712345678,";

    fn of(names: &[&'static str]) -> Option<String> {
        let mut update = Update::new(Kind::Message, Cow::Borrowed("messages"));
        let mut list = Names::default();
        names.iter().for_each(|name| list.push(Cow::Borrowed(*name)));
        update.names = list;
        country_of(&update).map(|country| String::from_utf8_lossy(&country).into_owned())
    }

    #[test]
    fn a_number_of_every_country_is_known() {
        let mut count = 0;
        for example in EXAMPLES.split(',').map(str::trim).filter(|example| !example.is_empty()) {
            let (country, number) = example.split_once(' ').unwrap();
            let found = of_number(number.parse().unwrap());
            assert_eq!(found.as_ref().map(|code| str::from_utf8(code).unwrap()), Some(country), "{number}");
            count += 1;
        }
        assert!(count > 250, "{count}");
    }

    #[test]
    fn every_country_has_an_example() {
        for (country, _) in COUNTRIES {
            let country = str::from_utf8(country).unwrap();
            assert!(EXAMPLES.contains(&format!("{country} ")), "{country}");
        }
    }

    #[test]
    fn a_prefix_stands_once_and_behind_a_code_of_its_own() {
        assert!(PREFIXES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(PREFIXES.iter().all(|(prefix, _)| prefix.ilog10() < PREFIX_MAX));
    }

    #[test]
    fn a_user_id_tells_more_than_a_number() {
        assert_eq!(of(&["971501234567", "SA.77120045518830021144"]).as_deref(), Some("SA"));
        assert_eq!(of(&["US.ENT.506", "971501234567"]).as_deref(), Some("US"));
        assert_eq!(of(&["251556368777322@lid", "whatsapp:+971501234567"]).as_deref(), Some("AE"));
    }

    #[test]
    fn what_is_no_number_has_no_country() {
        for name in [
            "251556368777322@lid",
            "120363025246125486@g.us",
            "971501234567-1580000000@g.us",
            "120363025246125486@newsletter",
            "971501234567@hosted",
            "status@broadcast",
            "ae.123",
            "",
        ] {
            assert_eq!(of(&[name]), None, "{name}");
        }
    }

    #[test]
    fn a_group_has_no_country() {
        let mut update = Update::new(Kind::Message, Cow::Borrowed("messages"));
        update.names.push(Cow::Borrowed("971501234567"));
        assert_eq!(country_of(&update), Some(*b"AE"));
        update.group = Some(Cow::Borrowed("120363025246125486@g.us"));
        assert_eq!(country_of(&update), None);
    }

    #[test]
    fn codes_of_no_country_and_short_numbers_have_none() {
        for number in [0, 1, 971, 501_234, 8_835_100_000_000, 870_773_111_632, 99_012_345_678, 2_101_234_567] {
            assert_eq!(of_number(number), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn any_number_has_at_most_the_country_of_one_of_its_prefixes(number in any::<u64>()) {
            let text = number.to_string();
            if let Some(country) = of_number(number) {
                let of = |prefix: u32| text.starts_with(&prefix.to_string());
                prop_assert!(PREFIXES.iter().any(|(prefix, known)| *known == country && of(*prefix)));
            }
        }
    }
}
