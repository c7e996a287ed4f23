/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Random programs over the whole of the interface, against a model of it: on one thread, where every call has to do
 * what the model does (alone), and on two, whose history has to be one that the model can have (together).
 *
 * With -DSPOOL_FUZZER this is a target for libFuzzer, which finds programs by the paths they take; tests/fuzz/run
 * builds and runs it. Without, it runs the programs that were found so far and others that are random:
 *
 *     test_fuzz [-m alone|together] [-n PROGRAMS] [-s SEED] [-v] [FILE ...]
 *
 * -n 0 and files runs those alone; -v prints every call before it is made. A random program that failed is made again
 * by the options that are printed with it.
 */
#include "fuzz/alone_run.h"
#include "fuzz/together.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

/* Programs ask for sizes that no machine has, and expect an error rather than an abort. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:detect_stack_use_after_return=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void (*run_program)(const uint8_t *data, size_t size);

#ifdef SPOOL_FUZZER

_Noreturn static void fuzz_end(void)
{
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* SPOOL_FUZZ_MODE is alone or together. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *mode = getenv("SPOOL_FUZZ_MODE");
    (void)argc;
    (void)argv;
    run_program = mode && strcmp(mode, "together") == 0 ? run_together : run_alone;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_log.n = 0;
    fuzz_log.origin = "the file that the fuzzer names";
    run_program(data, size);
    return 0;
}

#else

enum { PROGRAM_MAX = 512, PROGRAMS = 20000 };

/* A program that takes as long hangs. */
enum { HANG_SECONDS = 120 };

static const char *test_name = "?";

_Noreturn static void fuzz_end(void)
{
    printf("not ok fuzz_%s\nfigure fuzz.program_failures 1\n", test_name);
    fflush(stdout);
    _exit(EXIT_FAILURE);
}

/* Printing is not safe in a handler, but the program is over, and this is all that can be known of it. */
static void on_signal(int signo)
{
    print_calls();
    printf("signal %d: %s\n", signo, signo == SIGALRM ? "the program hangs" : "the program crashed");
    fuzz_end();
}

static void run_one(const uint8_t *data, size_t size)
{
    fuzz_log.n = 0;
    alarm(HANG_SECONDS);
    run_program(data, size);
    alarm(0);
}

/* G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void run_random(const char *mode, long long seed, long long n)
{
    uint8_t data[PROGRAM_MAX];
    for (long long i = 0; i < n; i++) {
        uint64_t state = (uint64_t)(seed + i);
        size_t size = 8 + draw(&state) % (sizeof data - 8);
        for (size_t j = 0; j < size; j++)
            data[j] = (uint8_t)draw(&state);
        fuzz_log.origin = run_program == run_alone ? "test_fuzz -m alone -n 1 -s" : "test_fuzz -m together -n 1 -s";
        fuzz_log.seed = seed + i;
        run_one(data, size);
    }
    printf("ok fuzz_%s %lld random programs, seed %lld\n", mode, n, seed);
}

/* Returns whether it could be read. */
static bool run_file(const char *path)
{
    static uint8_t data[1 << 16];
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    fuzz_log.origin = path;
    fuzz_log.seed = (long long)size;
    run_one(data, size);
    return true;
}

/* How many programs of the corpus were run. */
static int run_corpus(const char *mode)
{
    char path[512];
    int n = 0;
    snprintf(path, sizeof path, "tests/fuzz/corpus/%s", mode);
    DIR *dir = opendir(path);
    if (!dir) {
        printf("skip fuzz_corpus_%s no tests/fuzz/corpus in the current folder\n", mode);
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s/%s", mode, e->d_name);
        if (e->d_name[0] != '.')
            n += run_file(path);
    }
    closedir(dir);
    printf("ok fuzz_corpus_%s %d programs\n", mode, n);
    return n;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWDOWN 5
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWDOWN 5
#endif
#endif
#ifndef SLOWDOWN
#define SLOWDOWN 1
#endif

/* As the other tests do: SPOOL_TEST_SCALE multiplies. */
static long long scaled(long long n)
{
    const char *s = getenv("SPOOL_TEST_SCALE");
    double by = s ? atof(s) : 1;
    double value = (double)n * (by > 0 ? by : 1) / SLOWDOWN;
    return value < 1 ? 1 : (long long)value;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const uint8_t *data, size_t size);
    } modes[] = {{"alone", run_alone}, {"together", run_together}};
    const char *only = NULL;
    long long n = scaled(PROGRAMS), seed = 1, programs = 0;
    int corpus = 0, option;
    while ((option = getopt(argc, argv, "m:n:s:v")) != -1) {
        if (option == 'm')
            only = optarg;
        else if (option == 'n')
            n = atoll(optarg);
        else if (option == 's')
            seed = atoll(optarg);
        else if (option == 'v')
            fuzz_log.verbose = true;
        else
            return 2;
    }
    for (int i = 0; i < 4; i++)
        signal((const int[]){SIGALRM, SIGSEGV, SIGBUS, SIGABRT}[i], on_signal);
    for (size_t m = 0; m < COUNT(modes); m++) {
        if (only && strcmp(only, modes[m].name) != 0)
            continue;
        test_name = modes[m].name;
        run_program = modes[m].run;
        if (optind == argc && n != 1)
            corpus += run_corpus(test_name);
        for (int i = optind; i < argc; i++) {
            if (!run_file(argv[i])) {
                printf("%s: %s\n", argv[i], strerror(errno));
                return 2;
            }
            programs++;
        }
        if (n > 0 && optind == argc) {
            run_random(test_name, seed, n);
            programs += n;
        }
        fflush(stdout);
    }
    printf("figure fuzz.programs %lld\n", programs + corpus);
    printf("figure fuzz.program_failures 0\n");
    printf("figure fuzz.corpus_programs %d\n", corpus);
    return EXIT_SUCCESS;
}

#endif
