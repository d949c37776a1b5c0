//! The logarithm in single precision that XGBoost starts its margins with: that of the C library.

/// `logf` of glibc (since 2.27) and musl (since 1.2) for positive, normal, finite numbers, which both took from Arm's
/// optimized routines: equal to it in every bit, on every machine. The nearest single to the true logarithm would
/// differ in 3 of 1000 numbers.
///
/// A number is `2^k · z` with z near 1; `ln z` is `ln c` of a nearby c from a table, and a polynomial in `z / c − 1`.
pub(super) fn logf(number: f32) -> f32 {
    debug_assert!(number.is_normal() && number > 0.0);
    if number == 1.0 {
        return 0.0;
    }
    let bits = number.to_bits();
    let offset = bits.wrapping_sub(0x3f33_0000);
    let (one_over_c, ln_c) = TABLE[(offset >> 19 & 15) as usize];
    let k = f64::from(offset as i32 >> 23);
    let z = f64::from(f32::from_bits(bits.wrapping_sub(offset & 0xff80_0000)));
    let r = z * f64::from_bits(one_over_c) - 1.0;
    let y0 = f64::from_bits(ln_c) + k * std::f64::consts::LN_2;
    let r2 = r * r;
    let [a, b, c] = POLYNOMIAL.map(f64::from_bits);
    ((a * r2 + (b * r + c)) * r2 + (y0 + r)) as f32
}

// As bits: not every one of them has a short decimal.
const POLYNOMIAL: [u64; 3] = [0xbfd0_0ea3_48b8_8334, 0x3fd5_575b_0be0_0b6a, 0xbfdf_fffe_f20a_4123];
const TABLE: [(u64, u64); 16] = [
    (0x3ff6_61ec_79f8_f3be, 0xbfd5_7bf7_808c_aade),
    (0x3ff5_71ed_4aaf_883d, 0xbfd2_bef0_a7c0_6ddb),
    (0x3ff4_9539_f0f0_10b0, 0xbfd0_1eae_7f51_3a67),
    (0x3ff3_c995_b0b8_0385, 0xbfcb_31d8_a682_24e9),
    (0x3ff3_0d19_0c88_64a5, 0xbfc6_574f_0ac0_7758),
    (0x3ff2_5e22_7b0b_8ea0, 0xbfc1_aa2b_c79c_8100),
    (0x3ff1_bb4a_4a1a_343f, 0xbfba_4e76_ce8c_0e5e),
    (0x3ff1_2358_f08a_e5ba, 0xbfb1_973c_5a61_1ccc),
    (0x3ff0_953f_4199_00a7, 0xbfa2_52f4_38e1_0c1e),
    (0x3ff0_0000_0000_0000, 0x0000_0000_0000_0000),
    (0x3fee_608c_fd9a_47ac, 0x3faa_a5aa_5df2_5984),
    (0x3fec_a4b3_1f02_6aa0, 0x3fbc_5e53_aa36_2eb4),
    (0x3feb_2036_576a_fce6, 0x3fc5_26e5_7720_db08),
    (0x3fe9_c2d1_63a1_aa2d, 0x3fcb_c286_0d22_4770),
    (0x3fe8_86e6_0378_41ed, 0x3fd1_058b_c8a0_7ee1),
    (0x3fe7_67dc_f553_4862, 0x3fd4_0430_57b6_ee09),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_glibc_gives() {
        // Bits of numbers and of their logarithms by glibc 2.36.
        let pairs: [(u32, u32); 21] = [
            (0x3f7b_419a, 0xbc99_3950),
            (0x3f82_d89e, 0x3cb4_289f),
            (0x401a_5459, 0x3f61_553b),
            (0x3f82_7848, 0x3c9c_908b),
            (0x3f9e_119c, 0x3e58_1064),
            (0x4012_1dd1, 0x3f53_5558),
            (0x3f49_6d87, 0xbe75_8009),
            (0x3f7a_ff64, 0xbca1_a92c),
            (0x3f9b_a1f8, 0x3e48_28df),
            (0x3f7a_1caa, 0xbcbe_9e1b),
            (0x3f8a_5b55, 0x3d9f_5868),
            (0x3f8b_1c07, 0x3daa_7504),
            (0x3f9e_1c7f, 0x3e58_56e9),
            (0x3fd9_3df6, 0x3f07_6b5b),
            (0x3f17_fadd, 0xbf05_7c5e),
            (0x3e7c_127c, 0xbfb3_6cc0),
            (0x0080_0000, 0xc2ae_ac50),
            (0x7f7f_ffff, 0x42b1_7218),
            (0x3f80_0000, 0x0000_0000),
            (0x3f7f_ffff, 0xb380_0000),
            (0x3f80_0001, 0x33ff_ffff),
        ];
        for (number, expected) in pairs {
            let found = logf(f32::from_bits(number));
            assert_eq!(found.to_bits(), expected, "{}", f32::from_bits(number));
        }
    }

    #[test]
    fn it_is_close_to_the_logarithm_everywhere() {
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::MAX.to_bits()).step_by(99_991) {
            let number = f32::from_bits(bits);
            let exact = f64::from(number).ln();
            let apart = (f64::from(logf(number)) - exact).abs();
            // 0.818 units in the last place, says its source.
            assert!(apart <= 0.82 * 2f64.powi(-23) * exact.abs(), "{number}");
        }
    }
}
