/* Latency of one row through LightGBM's single-row fast path, or through a model compiled by tl2cgen.
 *
 *   single_row lightgbm lib_lightgbm.so MODEL.txt N_FEATURES ROWS
 *   single_row tl2cgen  MODEL.so        -         N_FEATURES ROWS
 *
 * ROWS holds doubles, row after row. Prints p50 and p99 in nanoseconds, the two readings of the clock included, and the
 * mean score of the rows. */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM = 2000, ROWS = 20000 };

union entry { int missing; double value; };

static int (*lightgbm_one)(void *, const void *, int64_t *, double *);
static void *lightgbm_config;
static void (*compiled)(union entry *, int, double *);
static int n_features;

static void *library;

static void *find(const char *name) {
    void *symbol = dlsym(library, name);
    if (!symbol) { fprintf(stderr, "%s\n", dlerror()); exit(1); }
    return symbol;
}

static double by_lightgbm(const double *row) {
    int64_t length;
    double score;
    if (lightgbm_one(lightgbm_config, row, &length, &score)) exit(1);
    return score;
}

static double by_compiled(const double *row) {
    union entry entries[256];
    double score = 0; /* it adds */
    for (int i = 0; i < n_features; i++) {
        if (isnan(row[i])) entries[i].missing = -1; else entries[i].value = row[i];
    }
    compiled(entries, 0, &score);
    return score;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int n, char **words) {
    if (n != 6) { fprintf(stderr, "see the top of single_row.c\n"); return 1; }
    library = dlopen(words[2], RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    n_features = atoi(words[4]);
    double (*score)(const double *);
    if (strcmp(words[1], "lightgbm") == 0) {
        int (*load)(const char *, int *, void **) = find("LGBM_BoosterCreateFromModelfile");
        int (*init)(void *, int, int, int, int, int32_t, const char *, void **) =
            find("LGBM_BoosterPredictForMatSingleRowFastInit");
        lightgbm_one = find("LGBM_BoosterPredictForMatSingleRowFast");
        void *booster; int iterations;
        if (load(words[3], &iterations, &booster)) return 1;
        /* Normal prediction, all iterations, of doubles. */
        if (init(booster, 0, 0, -1, 1, n_features, "num_threads=1", &lightgbm_config)) return 1;
        score = by_lightgbm;
    } else {
        compiled = find("predict");
        score = by_compiled;
    }
    FILE *file = fopen(words[5], "rb");
    if (!file || n_features < 1 || n_features > 256) return 1;
    static double rows[1000 * 256];
    long n_rows = fread(rows, sizeof(double) * n_features, 1000, file);
    if (n_rows < 1) return 1;
    static uint32_t taken[ROWS];
    double sum = 0;
    for (int i = 0; i < WARM + ROWS; i++) {
        const double *row = rows + (i % n_rows) * n_features;
        int64_t start = now();
        double answer = score(row);
        int64_t end = now();
        if (i < n_rows) sum += answer;
        if (i >= WARM) taken[i - WARM] = end - start;
    }
    qsort(taken, ROWS, sizeof taken[0], by_value);
    printf("{\"p50_ns\": %u, \"p99_ns\": %u, \"mean\": %.17g}\n",
           taken[ROWS / 2], taken[ROWS * 99 / 100], sum / n_rows);
    return 0;
}
