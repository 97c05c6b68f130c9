// Loops, calls, tables, bulk and vector operations, compiled by clang. Built by
//
//	clang --target=wasm32 -O2 -nostdlib -ffreestanding -mbulk-memory -msimd128 -mnontrapping-fptoint -msign-ext
//	  -Wl,--no-entry -Wl,--strip-all -o all.wasm all.c
#define EXPORT(n) __attribute__((export_name(n)))
typedef unsigned u32;
typedef unsigned long long u64;

__attribute__((import_module("env"), import_name("host"))) u32 host(u32);

static u32 table[256] = {1, 2, 3, 5, 7, 11, 13};
static u64 state = 88172645463325252ull;

EXPORT("xorshift") u64 xorshift(u64 n) {
	u64 s = state;
	for (u64 i = 0; i < n; i++) {
		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
	}
	return state = s;
}

EXPORT("fib") u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

__attribute__((noinline)) static u64 odd(u64 n);
__attribute__((noinline)) static u64 even(u64 n) { return n == 0 ? 1 : odd(n - 1) + (n & table[1]); }
__attribute__((noinline)) static u64 odd(u64 n) { return n == 0 ? 0 : even(n - 1) + (n & table[2]); }
EXPORT("mutual") u64 mutual(u64 n) { return even(n & 255); }

EXPORT("branches") u64 branches(u64 n) {
	u64 sum = 0;
	for (u64 i = 0; i < (n & 0xffff); i++)
		switch ((i ^ n) & 7) {
		case 0: sum += i; break;
		case 1: sum ^= i << 3; break;
		case 2: continue;
		case 3: sum -= 5; break;
		case 4: if (sum & 1) return sum; break;
		case 5: sum *= 3; break;
		default: sum += table[i & 255];
		}
	return sum;
}

static u64 twice(u64 v) { return v * 2; }
static u64 inverse(u64 v) { return ~v; }
static u64 third(u64 v) { return v / 3; }
static u64 (*volatile operations[3])(u64) = {twice, inverse, third};
EXPORT("indirect") u64 indirect(u64 n) {
	u64 v = n;
	for (u32 i = 0; i < (n & 1023); i++) v = operations[i % 3](v) + i;
	return v;
}

static unsigned char memory[1 << 16], other[1 << 16];
EXPORT("bulk") u64 bulk(u64 n) {
	u32 size = n & 0xffff;
	__builtin_memset(memory, (int)n, size);
	memory[size / 2] = 1;
	__builtin_memcpy(other, memory, size);
	u64 sum = 0;
	for (u32 i = 0; i < size; i++) sum = sum * 31 + other[i];
	return sum;
}

typedef float f32x4 __attribute__((vector_size(16)));
typedef unsigned char u8x16 __attribute__((vector_size(16)));
EXPORT("vectors") u64 vectors(u64 n) {
	f32x4 a = {1, 2, 3, (float)(n & 7)}, b = {0.5, 0.25, 2, 1};
	u8x16 c = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, (unsigned char)n};
	for (u32 i = 0; i < (n & 511); i++) {
		a = a * b + a;
		b[i & 3] = a[(i + 1) & 3] * 0.25f;
		c = __builtin_shufflevector(c, c + c, 3, 1, 20, 7, 9, 11, 30, 2, 5, 0, 17, 8, 4, 6, 10, 31);
	}
	u64 sum = (u64)(long long)a[0];
	for (u32 i = 0; i < 16; i++) sum = sum * 257 + c[i];
	return sum;
}

EXPORT("numbers") u64 numbers(u64 n) {
	double d = (double)(long long)n;
	float f = (float)d;
	signed char s = (signed char)n;
	short t = (short)(n >> 3);
	return (u64)(long long)(d / 3) ^ (u32)f ^ (u64)(long long)s * (u64)(long long)t ^ (u64)__builtin_popcountll(n) << 60;
}

EXPORT("calls") u64 calls(u64 n) {
	u64 sum = 0;
	for (u32 i = 0; i < (n & 63); i++) sum += host(i);
	return sum;
}

// Work that needs no loop: each level calls the next one twice.
#define LEVEL(a, b) __attribute__((noinline)) static u64 a(u64 n) { return b(n) + b(n ^ state); }
__attribute__((noinline)) static u64 level0(u64 n) { return n * 3; }
LEVEL(level1, level0) LEVEL(level2, level1) LEVEL(level3, level2) LEVEL(level4, level3) LEVEL(level5, level4)
LEVEL(level6, level5) LEVEL(level7, level6) LEVEL(level8, level7) LEVEL(level9, level8) LEVEL(level10, level9)
LEVEL(level11, level10) LEVEL(level12, level11) LEVEL(level13, level12) LEVEL(level14, level13) LEVEL(level15, level14)
LEVEL(level16, level15) LEVEL(level17, level16) LEVEL(level18, level17) LEVEL(level19, level18) LEVEL(level20, level19)
LEVEL(level21, level20) LEVEL(level22, level21) LEVEL(level23, level22) LEVEL(level24, level23) LEVEL(level25, level24)
LEVEL(level26, level25) LEVEL(level27, level26) LEVEL(level28, level27) LEVEL(level29, level28) LEVEL(level30, level29)
LEVEL(level31, level30) LEVEL(level32, level31) LEVEL(level33, level32) LEVEL(level34, level33) LEVEL(level35, level34)
LEVEL(level36, level35) LEVEL(level37, level36) LEVEL(level38, level37) LEVEL(level39, level38) LEVEL(level40, level39)
EXPORT("levels") u64 levels(u64 n) { return level40(n); }

EXPORT("forever") u64 forever(u64 n) {
	for (volatile u64 i = n;; i++)
		;
}

EXPORT("copyforever") u64 copyforever(u64 n) {
	for (;;) {
		__builtin_memcpy(other, memory, sizeof memory);
		__builtin_memset(memory, (int)n++, sizeof memory);
		__asm__ volatile("" ::: "memory");
	}
}
