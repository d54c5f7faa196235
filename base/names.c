/* SPDX-License-Identifier: BSD-2-Clause */
/* The name tables behind base/counters.h and base/faults.h. */
#include "base/counters.h"
#include "base/faults.h"

enum { CHAIN, QUEUE };

static const struct {
	const char *name, *section, *text;
	int scope;
} faults[XN_FAULT_COUNT] = {
	{ "none", "", "no fault", CHAIN },
#define XN_X(name, scope, section, text) { "fault_" #name, section, text, scope },
	XN_FAULTS(XN_X)
#undef XN_X
};

static const struct {
	const char *name, *text;
} bad_headers[XN_OFFLOAD_FAULT_COUNT] = {
	{ "none", "no fault" },
#define XN_X(name, section, text) { "tx_bad_hdr_" #name, text },
	XN_OFFLOAD_FAULTS(XN_X)
#undef XN_X
};

static const struct {
	const char *name, *unit, *text;
} counters[XN_C_FAULTS] = {
#define XN_X(name, unit, text) { #name, unit, text },
	XN_COUNTERS(XN_X)
#undef XN_X
};

const char *xn_fault_name(enum xn_fault f)    { return faults[f].name; }
const char *xn_fault_section(enum xn_fault f) { return faults[f].section; }
const char *xn_fault_text(enum xn_fault f)    { return faults[f].text; }
bool xn_fault_stops_queue(enum xn_fault f)    { return faults[f].scope == QUEUE; }

const char *xn_offload_fault_name(enum xn_offload_fault f) { return bad_headers[f].name; }
const char *xn_offload_fault_text(enum xn_offload_fault f) { return bad_headers[f].text; }

static enum xn_fault fault_of(unsigned i)
{
	return (enum xn_fault)(i - XN_C_FAULTS + 1);
}

static enum xn_offload_fault bad_header_of(unsigned i)
{
	return (enum xn_offload_fault)(i - XN_C_BAD_HEADERS + 1);
}

const char *xn_counter_name(unsigned i)
{
	if (i < XN_C_FAULTS)
		return counters[i].name;
	return i < XN_C_BAD_HEADERS ? xn_fault_name(fault_of(i)) :
				      xn_offload_fault_name(bad_header_of(i));
}

const char *xn_counter_unit(unsigned i)
{
	if (i < XN_C_FAULTS)
		return counters[i].unit;
	return i < XN_C_BAD_HEADERS ? "chains" : "packets";
}

const char *xn_counter_text(unsigned i)
{
	if (i < XN_C_FAULTS)
		return counters[i].text;
	return i < XN_C_BAD_HEADERS ? xn_fault_text(fault_of(i)) :
				      xn_offload_fault_text(bad_header_of(i));
}
