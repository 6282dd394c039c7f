// The engine in a page: what a WebAssembly module exports around the C++ that Yosys's write_cxxrtl makes of the gateware.
//
// It imports nothing, has its own few lines of a heap, and knows no number of any engine: widths are those of the ports.
// A host writes into the buffers, calls, and reads the buffers; fdht.sim.webassembly says what they hold.

#define _LIBCPP_VERBOSE_ABORT(...) __builtin_trap() // of the C++ library nothing but its headers is needed

#include ENGINE

using engine = cxxrtl_design::p_engine;

// The heap only grows: the engine is made once, and its queues keep what they have taken.

extern unsigned char __heap_base;

static void *take(std::size_t bytes) {
	constexpr std::size_t page = 65536;
	static std::uintptr_t free = reinterpret_cast<std::uintptr_t>(&__heap_base);
	std::uintptr_t place = (free + 15) & ~std::uintptr_t(15);
	free = place + bytes;
	std::size_t pages = (free + page - 1) / page, there = __builtin_wasm_memory_size(0);
	if (pages > there && __builtin_wasm_memory_grow(0, pages - there) == std::size_t(-1))
		__builtin_trap();
	return reinterpret_cast<void *>(place);
}

void *operator new(std::size_t bytes) { return take(bytes); }
void *operator new[](std::size_t bytes) { return take(bytes); }
void operator delete(void *) noexcept {}
void operator delete[](void *) noexcept {}
void operator delete(void *, std::size_t) noexcept {}
void operator delete[](void *, std::size_t) noexcept {}

// Ports are values where they are computed and wires where they are registers.

template <std::size_t Bits> static std::uint32_t read(const cxxrtl::value<Bits> &port) {
	static_assert(Bits <= 32);
	return port.template get<std::uint32_t>();
}

template <std::size_t Bits> static std::uint32_t read(const cxxrtl::wire<Bits> &port) { return read(port.curr); }

template <std::size_t Bits> static void write(cxxrtl::value<Bits> &port, std::uint32_t number) {
	port = cxxrtl::value<32>{number}.template zcast<Bits>();
}

// A beat of the input stream: LANES raw words, the first in the lowest bits.
template <std::size_t Bits> static cxxrtl::value<Bits> beat(const std::uint16_t *words) {
	constexpr std::size_t width = Bits / LANES, chunk = 8 * sizeof(cxxrtl::chunk_t);
	cxxrtl::value<Bits> beat;
	for (std::size_t lane = 0; lane < LANES; lane++)
		for (std::size_t bit = 0; bit < width; bit++)
			beat.data[(lane * width + bit) / chunk] |= cxxrtl::chunk_t(words[lane] >> bit & 1) << (lane * width + bit) % chunk;
	return beat;
}

constexpr std::size_t INPUTS = 1 << 20, OUTPUTS = 1 << 16, EVENTS = 1 << 16;

static engine *top;
static std::uint16_t inputs[INPUTS];
static std::uint32_t outputs[OUTPUTS], events[EVENTS][2];
static std::uint32_t offered, taken, sent, happened, cycle, ran;

// One clock cycle. The inputs are set before; while it lasts, outputs have the values that they have before its rising
// edge, and `after` looks at them. The clock need not fall: the engine compares it with what it was.
template <typename After> static void tick(After after) {
	top->prev_p_clk = cxxrtl::value<1>{0u};
	top->eval();
	after();
	top->commit();
}

#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

EXPORT(inputs) std::uint16_t *place_of_inputs() { return inputs; }
EXPORT(outputs) std::uint32_t *place_of_outputs() { return outputs; }
EXPORT(events) std::uint32_t *place_of_events() { return &events[0][0]; }
EXPORT(most_inputs) std::uint32_t most_inputs() { return INPUTS; }

// Resets the engine, and loads the image whose words are in `inputs`.
EXPORT(load) void load(std::uint32_t words) {
	if (!top) {
		top = new engine;
		write(top->p_clk, 1);
	}
	write(top->p_rst, 1);
	tick([] {});
	write(top->p_rst, 0);
	write(top->p_out____ready, 1);
	for (std::uint32_t at = 0; at < words;) {
		write(top->p_image____payload, inputs[at]);
		write(top->p_image____valid, 1);
		tick([&] { at += read(top->p_image____ready); });
	}
	write(top->p_image____valid, 0);
	tick([] {});
}

// Begins a run of so many steps, whose raw words are in `inputs`, in the order in which they are sent; whole beats.
EXPORT(begin) void begin(std::uint32_t steps, std::uint32_t words) {
	offered = words, taken = sent = happened = cycle = ran = 0;
	write(top->p_steps, steps);
}

// The cycles of the run so far: those in which the engine was running.
EXPORT(cycles) std::uint32_t cycles() { return ran; }

// How many outputs and events there are in the buffers: those of the last call of `advance`.
EXPORT(sent) std::uint32_t outputs_sent() { return sent; }
EXPORT(happened) std::uint32_t events_happened() { return happened; }

// Runs on for so many cycles, or until the run is over, or there is no room for what happens. Returns whether it is over.
EXPORT(advance) std::uint32_t advance(std::uint32_t most) {
	bool over = false;
	sent = happened = 0;
	for (; most && !over && sent < OUTPUTS && happened < EVENTS; most--) {
		bool valid = taken < offered;
		write(top->p_start, cycle == 0);
		write(top->p_x____valid, valid);
		if (valid)
			top->p_x____payload = beat<decltype(top->p_x____payload)::bits>(inputs + taken);
		tick([&] {
			if (valid && read(top->p_x____ready))
				taken += LANES;
			if (read(top->p_out____valid))
				outputs[sent++] = read(top->p_out____payload);
			std::uint32_t seen = read(top->p_started) | read(top->p_ended) << 16;
			if (seen) {
				events[happened][0] = cycle;
				events[happened++][1] = seen;
			}
			ran += read(top->p_running);
			over = cycle > 0 && !read(top->p_busy);
		});
		cycle++;
	}
	return over;
}
