/* SPDX-License-Identifier: BSD-2-Clause */
/* Flows for queues: found by trying, with what the engine computes (rss/). */
#include <assert.h>

#include "bench/frame.h"
#include "bench/path.h"
#include "rss/config.h"

#define FIRST_PORT 1024u

uint16_t xn_flow_port(unsigned pairs, unsigned queue)
{
	static const uint8_t nobody[6];
	uint8_t frame[XN_FRAME_MIN];
	struct xn_rss_config cfg;
	struct xn_rss_image img;

	assert(queue < pairs);
	xn_rss_default(&cfg, pairs);
	xn_rss_image_make(&img, &cfg);
	xn_frame_build(frame, sizeof(frame), nobody, nobody, 0, 0);
	for (unsigned port = FIRST_PORT; port <= UINT16_MAX; port++) {
		unsigned report;
		uint32_t hash;

		xn_frame_set_port(frame, (uint16_t)port);
		if (xn_rss_steer(&img, frame, sizeof(frame), &hash, &report) == queue)
			return (uint16_t)port;
	}
	assert(!"each queue has a flow");
	return 0;
}
