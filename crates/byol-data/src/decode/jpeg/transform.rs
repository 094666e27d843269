//! Coefficients → samples: libjpeg's accurate inverse cosine transform in whole numbers (`jidctint.c`), bit for bit.

const BITS: u32 = 13;

// Cosines times 2¹³, as there.
const FIX_0_298631336: i32 = 2446;
const FIX_0_390180644: i32 = 3196;
const FIX_0_541196100: i32 = 4433;
const FIX_0_765366865: i32 = 6270;
const FIX_0_899976223: i32 = 7373;
const FIX_1_175875602: i32 = 9633;
const FIX_1_501321110: i32 = 12299;
const FIX_1_847759065: i32 = 15137;
const FIX_1_961570560: i32 = 16069;
const FIX_2_053119869: i32 = 16819;
const FIX_2_562915447: i32 = 20995;
const FIX_3_072711026: i32 = 25172;

/// The samples of a block of `bits` = 8 or 12 bits, row by row, from coefficients and what they are multiplied by.
pub(super) fn samples(coefficients: &[i16; 64], quantiser: &[u16; 64], bits: u8) -> [u16; 64] {
    // Bits kept between the passes; fewer for 12-bit samples, or sums would not fit.
    let kept = if bits > 8 { 1 } else { 2 };
    let (centre, largest) = (1 << (bits - 1), (1 << bits) - 1);
    let level = |value: i32| value.saturating_add(centre).clamp(0, largest) as u16;
    if coefficients[1..] == [0; 63] {
        // Even colour, as much of chroma is: the same sums with all else 0.
        let mean = i32::from(coefficients[0]).wrapping_mul(quantiser[0].into());
        let [row, ..] = line([mean, 0, 0, 0, 0, 0, 0, 0], BITS - kept);
        let [mean, ..] = line([row, 0, 0, 0, 0, 0, 0, 0], BITS + kept + 3);
        return [level(mean); 64];
    }
    let mut work = [0i32; 64];
    for column in 0..8 {
        let input: [i32; 8] = std::array::from_fn(|row| {
            i32::from(coefficients[8 * row + column]).wrapping_mul(quantiser[8 * row + column].into())
        });
        for (row, value) in line(input, BITS - kept).into_iter().enumerate() {
            work[8 * row + column] = value;
        }
    }
    let mut out = [0; 64];
    for (input, output) in work.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        *output = line(*input, BITS + kept + 3).map(level);
    }
    out
}

/// One dimension; results are divided by `2^shift` and rounded.
fn line(input: [i32; 8], shift: u32) -> [i32; 8] {
    let times = i32::wrapping_mul;
    let sum = i32::wrapping_add;
    let difference = i32::wrapping_sub;

    let (z2, z3) = (input[2], input[6]);
    let z1 = times(sum(z2, z3), FIX_0_541196100);
    let even2 = sum(z1, times(z3, -FIX_1_847759065));
    let even3 = sum(z1, times(z2, FIX_0_765366865));
    let even0 = sum(input[0], input[4]).wrapping_shl(BITS);
    let even1 = difference(input[0], input[4]).wrapping_shl(BITS);
    let even = [sum(even0, even3), sum(even1, even2), difference(even1, even2), difference(even0, even3)];

    let [t0, t1, t2, t3] = [input[7], input[5], input[3], input[1]];
    let z5 = times(sum(sum(t0, t2), sum(t1, t3)), FIX_1_175875602);
    let z1 = times(sum(t0, t3), -FIX_0_899976223);
    let z2 = times(sum(t1, t2), -FIX_2_562915447);
    let z3 = sum(times(sum(t0, t2), -FIX_1_961570560), z5);
    let z4 = sum(times(sum(t1, t3), -FIX_0_390180644), z5);
    let odd = [
        sum(times(t3, FIX_1_501321110), sum(z1, z4)),
        sum(times(t2, FIX_3_072711026), sum(z2, z3)),
        sum(times(t1, FIX_2_053119869), sum(z2, z4)),
        sum(times(t0, FIX_0_298631336), sum(z1, z3)),
    ];

    let round = |value: i32| sum(value, 1 << (shift - 1)) >> shift;
    std::array::from_fn(|place| match place {
        0..4 => round(sum(even[place], odd[place])),
        _ => round(difference(even[7 - place], odd[7 - place])),
    })
}
