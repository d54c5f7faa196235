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

static enum xn_fault fault_of(unsigned i)
{
	return (enum xn_fault)(i - XN_C_FAULTS + 1);
}

const char *xn_counter_name(unsigned i)
{
	return i < XN_C_FAULTS ? counters[i].name : xn_fault_name(fault_of(i));
}

const char *xn_counter_unit(unsigned i)
{
	return i < XN_C_FAULTS ? counters[i].unit : "chains";
}

const char *xn_counter_text(unsigned i)
{
	return i < XN_C_FAULTS ? counters[i].text : xn_fault_text(fault_of(i));
}
