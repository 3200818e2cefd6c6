/*
 * A PKCS#11 module that stands before another one and spoils calls, for the tests in peer_token_faults.rs.
 *
 * FAULT_MODULE_TARGET is the module behind it. FAULT_MODULE_FILE names a file that is read at each call: `NUMBER FROM KIND`, where
 * NUMBER is the place of a function in CK_FUNCTION_LIST (PKCS#11 2.40, 0 for C_Initialize), FROM the call of that function in this
 * process from which on it is spoilt (1 for the first), and KIND one of
 *
 *   hang            never come back
 *   crash           abort()
 *   exit            _exit(3)
 *   eat             take memory and write to it until there is no more, then fail with CKR_HOST_MEMORY
 *   wrong-length    do the call, then say that there are 2^40 octets or handles
 *   always          of C_GenerateKeyPair: make a private key that wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE)
 *   meet            wait until four such calls are under way at the same time
 *   CKR in hex      fail with that value
 *
 * Without the file, or with nothing in it, all calls go through. `gcc -shared -fPIC -o fault_module.so fault_module.c -ldl`
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*call)(word, word, word, word, word, word, word, word);
enum { FUNCTIONS = 68, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_MECHANISM_LIST = 7, GET_ATTRIBUTE_VALUE = 24, FIND_OBJECTS = 27, SIGN = 43, GENERATE_KEY_PAIR = 59 };

struct list {
    unsigned char version[2];
    call functions[FUNCTIONS];
};
struct attribute {
    word type;
    void *value;
    word length;
};

static struct list *target, ours;
static word calls[FUNCTIONS];

/* The fault for this call of function `number`, or an empty text. */
static void fault(word number, char *kind) {
    word wanted, from, nth = __atomic_add_fetch(&calls[number], 1, __ATOMIC_SEQ_CST);
    char read[32];
    kind[0] = 0;
    const char *path = getenv("FAULT_MODULE_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return;
    if (fscanf(file, "%lu %lu %31s", &wanted, &from, read) == 3 && wanted == number && nth >= from) strcpy(kind, read);
    fclose(file);
}

static word spoilt(word number, word a, word b, word c, word d, word e, word f, word g, word h) {
    char kind[32];
    fault(number, kind);
    if (!strcmp(kind, "hang"))
        for (;;) pause();
    if (!strcmp(kind, "crash")) abort();
    if (!strcmp(kind, "exit")) _exit(3);
    if (!strcmp(kind, "eat")) {
        const size_t piece = 64UL << 20;
        /* At most 64 GiB, should nothing stop it. */
        for (int n = 0; n < 1024; n++) {
            char *taken = malloc(piece);
            if (!taken) return 2; /* CKR_HOST_MEMORY */
            memset(taken, 1, piece);
        }
        return 5; /* CKR_GENERAL_ERROR */
    }
    if (!strcmp(kind, "meet")) {
        static int inside, met;
        if (__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) >= 4) met = 1;
        while (!__atomic_load_n(&met, __ATOMIC_SEQ_CST)) usleep(1000);
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        kind[0] = 0;
    }
    struct attribute more[64];
    unsigned char yes = 1;
    if (!strcmp(kind, "always") && number == GENERATE_KEY_PAIR && f < 63) {
        memcpy(more, (void *)e, f * sizeof *more);
        more[f] = (struct attribute){0x202, &yes, 1};
        return target->functions[number](a, b, c, d, (word)more, f + 1, g, h);
    }
    if (kind[0] && strcmp(kind, "wrong-length")) return strtoul(kind, NULL, 16);
    word value = target->functions[number](a, b, c, d, e, f, g, h);
    if (kind[0]) {
        const word absurd = 1UL << 40;
        if (number == GET_SLOT_LIST || number == GET_MECHANISM_LIST) *(word *)c = absurd;
        if (number == FIND_OBJECTS) *(word *)d = absurd;
        if (number == SIGN) *(word *)e = absurd;
        if (number == GET_ATTRIBUTE_VALUE && d) ((struct attribute *)c)[0].length = absurd;
    }
    return value;
}

/* One function for each place in the list; the eight words that it hands on are all that any function of the standard takes. */
#define ONE(n) \
    static word f##n(word a, word b, word c, word d, word e, word f, word g, word h) { return spoilt(n, a, b, c, d, e, f, g, h); }
#define TEN(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)
ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9)
TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) ONE(60) ONE(61) ONE(62) ONE(63) ONE(64) ONE(65) ONE(66) ONE(67)
#define TEN_NAMES(n) f##n##0, f##n##1, f##n##2, f##n##3, f##n##4, f##n##5, f##n##6, f##n##7, f##n##8, f##n##9
static const call all[FUNCTIONS] = {
    f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, TEN_NAMES(1), TEN_NAMES(2), TEN_NAMES(3), TEN_NAMES(4), TEN_NAMES(5),
    f60, f61, f62, f63, f64, f65, f66, f67,
};

word C_GetFunctionList(struct list **out) {
    const char *path = getenv("FAULT_MODULE_TARGET");
    void *library = path ? dlopen(path, RTLD_NOW) : NULL;
    word (*get)(struct list **) = library ? (word (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get) return 5; /* CKR_GENERAL_ERROR */
    word value = get(&target);
    if (value) return value;
    memcpy(ours.version, target->version, 2);
    memcpy(ours.functions, all, sizeof all);
    ours.functions[GET_FUNCTION_LIST] = (call)C_GetFunctionList;
    *out = &ours;
    return 0;
}
