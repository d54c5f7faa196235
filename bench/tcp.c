/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract and theory in tcp.h. */
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "base/log.h"
#include "base/packet.h"
#include "base/types.h"
#include "bench/tcp.h"

#define IP_AT    ETH_HLEN
#define TCP_AT   (IP_AT + 20u)
#define OPT_AT   (TCP_AT + 20u)
#define OPT_TS   12u              /* NOP, NOP, timestamps */
#define SCALE    7u               /* of our window */
#define WINDOW   (1u << 20)       /* ours; the guest's buffers hold about as much */
#define RTO_MS   200u
#define OPEN_RTO_MS 100u
#define BATCH    64u              /* packets of a turn */
#define FLIGHT   (2u << 20)       /* bytes on their way: the peer's socket has room for more */

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* ---- the pattern ---- */

void xn_tcp_pattern(uint8_t *pattern)
{
	uint32_t x = 2463534242u;

	for (uint32_t i = 0; i < XN_TCP_PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		pattern[i] = (uint8_t)(x >> 8);
	}
	memcpy(pattern + XN_TCP_PERIOD, pattern, XN_TCP_MORE);
}

bool xn_tcp_is_pattern(const uint8_t *pattern, uint64_t at, const void *data, uint32_t n)
{
	return !memcmp(pattern + at % XN_TCP_PERIOD, data, n);
}

/* ---- sums, the slow and obvious way ---- */

/* Of the bytes as 16-bit words in network order; *odd: they begin at an odd place of what is
 * summed, and so do those that follow. */
static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t s, bool *odd)
{
	for (uint32_t i = 0; i < n; i++, *odd = !*odd)
		s += *odd ? p[i] : (uint32_t)p[i] << 8;
	return (s & 0xffff) + (s >> 16);
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* Of addresses, protocol and length. */
static uint32_t pseudo(const uint8_t *ip, uint32_t tcp_bytes)
{
	bool odd = false;

	return sum(ip + 12, 8, 6 + tcp_bytes, &odd);
}

/* ---- what leaves ---- */

static uint32_t now_ms(void)
{
	return (uint32_t)(xn_now_ns() / 1000000);
}

static bool lost(struct xn_tcp *t, uint32_t of_1024)
{
	if (!of_1024)
		return false;
	t->rnd ^= t->rnd << 13;
	t->rnd ^= t->rnd >> 17;
	t->rnd ^= t->rnd << 5;
	if ((t->rnd >> 8) % 1024 >= of_1024)
		return false;
	t->n.dropped++;
	return true;
}

static void put_ip(const struct xn_tcp *t, uint8_t *ip, uint32_t bytes)
{
	bool odd = false;

	memset(ip, 0, 20);
	ip[0] = 0x45;
	xn_put_be16(ip + 2, (uint16_t)bytes);
	ip[6] = 0x40;                 /* not to be fragmented */
	ip[8] = 64;
	ip[9] = 6;
	xn_put_be32(ip + 12, t->cfg.addr);
	xn_put_be32(ip + 16, t->cfg.peer_addr);
	xn_put_be16(ip + 10, (uint16_t)~fold(sum(ip, 20, 0, &odd)));
}

/* Options behind the header; returns their length. */
static uint32_t put_options(const struct xn_tcp *t, uint8_t *o, bool syn)
{
	const uint8_t ts[] = { 1, 1, 8, 10 };
	uint32_t n = 0;

	if (syn) {
		o[0] = 2;             /* maximum segment size */
		o[1] = 4;
		xn_put_be16(o + 2, (uint16_t)(t->cfg.mtu - 40));
		o[4] = 1;
		o[5] = 3;             /* window scale */
		o[6] = 3;
		o[7] = SCALE;
		n = 8;
	}
	memcpy(o + n, ts, sizeof(ts));
	xn_put_be32(o + n + 4, now_ms());
	xn_put_be32(o + n + 8, t->ts_recent);
	return n + OPT_TS;
}

/* Ethernet to the end of TCP's header, for so many bytes of payload; returns their length. */
static uint32_t put_heads(const struct xn_tcp *t, uint8_t *f, uint32_t seq, uint8_t flags,
			  uint32_t payload)
{
	const uint32_t tcp_bytes = 20 + put_options(t, f + OPT_AT, flags & SYN);
	uint8_t *tcp = f + TCP_AT;

	memcpy(f, t->cfg.peer_mac, ETH_ALEN);
	memcpy(f + ETH_ALEN, t->cfg.mac, ETH_ALEN);
	xn_put_be16(f + 2 * ETH_ALEN, ETH_P_IP);
	put_ip(t, f + IP_AT, 20 + tcp_bytes + payload);
	xn_put_be16(tcp, t->cfg.port);
	xn_put_be16(tcp + 2, t->cfg.peer_port);
	xn_put_be32(tcp + 4, seq);
	xn_put_be32(tcp + 8, flags & ACK ? t->peer_isn + 1 + (uint32_t)t->rcv + t->peer_fin : 0);
	tcp[12] = (uint8_t)(tcp_bytes / 4 << 4);
	tcp[13] = flags;
	xn_put_be16(tcp + 14, (uint16_t)(flags & SYN ? 65535 : WINDOW >> SCALE));
	xn_put_be16(tcp + 18, 0);
	/* Of the pseudo-header only: whoever finishes it adds the rest. */
	xn_put_be16(tcp + 16, fold(pseudo(f + IP_AT, tcp_bytes + payload)));
	return TCP_AT + tcp_bytes;
}

/* What is asked of the device; without it the checksum is finished here. */
static void put_vnet(const struct xn_tcp *t, uint8_t *p, uint32_t heads, const uint8_t *data,
		     uint32_t payload)
{
	struct virtio_net_hdr_v1 h = { 0 };
	uint8_t *tcp = p + XN_GUEST_HDR + TCP_AT;
	const bool cut = payload > t->mss;
	bool odd = false;
	uint32_t s;

	if (t->cfg.csum || cut) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = (uint16_t)TCP_AT;
		h.csum_offset = 16;
	} else {
		s = sum(tcp, heads - TCP_AT, 0, &odd);
		xn_put_be16(tcp + 16, (uint16_t)~fold(sum(data, payload, s, &odd)));
	}
	if (cut) {
		h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = (uint16_t)t->mss;
		h.hdr_len = (uint16_t)heads;
	}
	memcpy(p, &h, sizeof(h));
}

/* Payload in pieces that end where pages (or what piece_bytes says) end. */
static unsigned cut_pieces(const struct xn_tcp *t, struct xn_guest_piece *piece, const uint8_t *data,
			   uint32_t payload)
{
	const uint32_t most = t->cfg.piece_bytes;
	unsigned n = 0;

	for (uint32_t at = 0; at < payload; n++) {
		uint32_t len = most - (uint32_t)((uintptr_t)(data + at) % most);

		/* The last one takes what is left. */
		len = n + 1 == XN_TCP_PIECES - 1 ? payload - at : XN_MIN(len, payload - at);
		piece[n] = (struct xn_guest_piece){ (uint8_t *)data + at, len };
		at += len;
	}
	return n;
}

/* One packet; false: no slot is free. */
static bool emit(struct xn_tcp *t, uint32_t seq, uint8_t flags, uint64_t at, uint32_t payload)
{
	const uint8_t *data = t->cfg.pattern + at % XN_TCP_PERIOD;
	struct xn_guest_piece piece[XN_TCP_PIECES];
	uint8_t *p = xn_guest_chain_begin(t->cfg.guest, 0);
	uint32_t heads;
	unsigned n = 1;

	if (!p)
		return false;
	heads = put_heads(t, p + XN_GUEST_HDR, seq, flags, payload);
	put_vnet(t, p, heads, data, payload);
	t->ack_due = false;
	if (lost(t, t->cfg.drop_tx))
		return true;
	piece[0] = (struct xn_guest_piece){ p, XN_GUEST_HDR + heads };
	if (payload && !t->cfg.piece_bytes) {
		memcpy(p + XN_GUEST_HDR + heads, data, payload);
		piece[0].bytes += payload;
	} else if (payload) {
		n += cut_pieces(t, piece + 1, data, payload);
	}
	xn_guest_chain_add(t->cfg.guest, 0, piece, n);
	return true;
}

static uint32_t seq_of(const struct xn_tcp *t, uint64_t at)
{
	return t->isn + 1 + (uint32_t)at;
}

static bool emit_ack(struct xn_tcp *t)
{
	return emit(t, seq_of(t, t->nxt) + t->fin_sent, ACK, 0, 0);
}

/* The next piece of the stream, if the window allows it. */
static bool emit_data(struct xn_tcp *t)
{
	const uint32_t most = t->cfg.tso_bytes ? t->cfg.tso_bytes / t->mss * t->mss : t->mss;
	const uint64_t left = t->limit - XN_MIN(t->limit, t->nxt);
	const uint64_t end = XN_MIN(t->wnd_end, t->una + FLIGHT), room = end - XN_MIN(end, t->nxt);
	const uint32_t n = (uint32_t)XN_MIN(XN_MIN(left, room), most);
	const bool last = t->want_fin && n == left;

	if (t->fin_sent || (!n && !last))
		return false;
	/* Not in small bits, only because the window opens in such (RFC 9293, 3.8.6.2.1). */
	if (n < left && n < most && t->nxt > t->una)
		return false;
	if (!emit(t, seq_of(t, t->nxt), (uint8_t)(ACK | (n ? PSH : 0) | (last ? FIN : 0)), t->nxt, n))
		return false;
	if (t->nxt == t->una)
		t->moved_ns = xn_now_ns();
	t->n.packets += n > 0;
	t->n.sent += n;
	t->n.again += t->nxt < t->top ? XN_MIN(t->top - t->nxt, n) : 0;
	t->nxt += n;
	t->top = XN_MAX(t->top, t->nxt);
	t->fin_sent = last;
	return true;
}

static void go_back(struct xn_tcp *t)
{
	t->recover = t->top;
	t->nxt = t->una;
	t->fin_sent = false;
	t->same = 0;
	t->moved_ns = xn_now_ns();
}

/* ---- what comes ---- */

struct segment {
	uint32_t seq, ack, bytes;      /* of payload */
	uint16_t window;
	uint8_t flags;
	const uint8_t *options;
	uint32_t options_bytes;
	uint32_t at;                   /* payload, in the frame */
};

/* Is its checksum right, or one that is to be finished as the header says? */
static bool is_summed(const struct xn_merged *m, uint32_t end)
{
	struct virtio_net_hdr_v1 h;
	const uint8_t *f = m->f[0].data;
	const uint32_t tcp_bytes = end - TCP_AT;
	uint32_t s = pseudo(f + IP_AT, tcp_bytes), at = 0;
	bool odd = false;

	memcpy(&h, xn_merged_hdr(m), sizeof(h));
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return h.csum_start == TCP_AT && h.csum_offset == 16 &&
		       xn_be16(f + TCP_AT + 16) == fold(s);
	for (unsigned i = 0; i < m->n; i++) {
		const uint32_t skip = at < TCP_AT ? XN_MIN(TCP_AT - at, m->f[i].bytes) : 0;
		const uint32_t n = XN_MIN(m->f[i].bytes, end - at);

		s = sum(m->f[i].data + skip, n - skip, s, &odd);
		at += n;
	}
	return fold(s) == 0xffff;
}

static bool parse(struct xn_tcp *t, const struct xn_merged *m, struct segment *s)
{
	const uint8_t *f = m->f[0].data, *tcp = f + TCP_AT;
	uint32_t end, heads;
	bool odd = false;

	if (m->f[0].bytes < XN_TCP_HEAD || xn_be16(f + 2 * ETH_ALEN) != ETH_P_IP || f[IP_AT] != 0x45 ||
	    f[IP_AT + 9] != 6 || xn_be16(tcp) != t->cfg.peer_port || xn_be16(tcp + 2) != t->cfg.port)
		return false;
	end = IP_AT + xn_be16(f + IP_AT + 2);
	heads = TCP_AT + (tcp[12] >> 4) * 4u;
	if (end > m->bytes || heads > end || heads < OPT_AT || heads > m->f[0].bytes ||
	    fold(sum(f + IP_AT, 20, 0, &odd)) != 0xffff) {
		t->n.bad_headers++;
		return false;
	}
	if (t->cfg.verify && !is_summed(m, end)) {
		t->n.bad_sums++;
		return false;
	}
	*s = (struct segment){
		.seq = xn_be32(tcp + 4), .ack = xn_be32(tcp + 8), .bytes = end - heads,
		.window = xn_be16(tcp + 14), .flags = tcp[13], .options = f + OPT_AT,
		.options_bytes = heads - OPT_AT, .at = heads,
	};
	return true;
}

static void take_options(struct xn_tcp *t, const struct segment *s)
{
	const uint8_t *o = s->options;
	uint32_t i = 0;

	while (i < s->options_bytes && o[i]) {
		const uint32_t len = o[i] == 1 || i + 1 == s->options_bytes ? 1 : XN_MAX(o[i + 1], 1);

		if (i + len > s->options_bytes)
			return;
		if (o[i] == 8 && len == 10)
			t->ts_recent = xn_be32(o + i + 2);
		else if (o[i] == 2 && len == 4 && s->flags & SYN)
			t->mss = XN_MIN(xn_be16(o + i + 2), t->cfg.mtu - 40u) - OPT_TS;
		else if (o[i] == 3 && len == 3 && s->flags & SYN)
			t->peer_scale = o[i + 2];
		i += len;
	}
}

static void take_syn(struct xn_tcp *t, const struct segment *s)
{
	if ((s->flags & (SYN | ACK)) != (SYN | ACK) || s->ack != t->isn + 1)
		return;
	t->peer_isn = s->seq;
	t->wnd_end = s->window;        /* not scaled yet */
	t->state = XN_TCP_OPEN;
	t->ack_due = true;
}

static void take_ack(struct xn_tcp *t, const struct segment *s)
{
	const int32_t ahead = (int32_t)(s->ack - seq_of(t, t->una));
	const uint64_t wnd_end = t->una + ((uint64_t)s->window << t->peer_scale);
	uint64_t to;

	if (ahead < 0 || (uint64_t)ahead > t->top + t->want_fin - t->una)
		return;
	if (!ahead) {
		const bool same = !s->bytes && !(s->flags & FIN) && wnd_end <= t->wnd_end && t->top > t->una;

		t->wnd_end = XN_MAX(t->wnd_end, wnd_end);
		t->same = same ? t->same + 1 : 0;
		if (t->same == 3 && t->una >= t->recover)
			go_back(t);
		return;
	}
	to = t->una + (uint32_t)ahead;
	/* One more than there are bytes: FIN. */
	if (to > t->top) {
		t->fin_acked = true;
		to = t->top;
	}
	t->n.acked += to - t->una;
	t->una = to;
	t->nxt = XN_MAX(t->nxt, to);
	t->wnd_end = XN_MAX(t->wnd_end, to + ((uint64_t)s->window << t->peer_scale));
	t->same = 0;
	t->moved_ns = xn_now_ns();
}

static void take_data(struct xn_tcp *t, const struct segment *s, const struct xn_merged *m)
{
	const int32_t ahead = (int32_t)(s->seq - (t->peer_isn + 1 + (uint32_t)t->rcv));
	uint32_t skip = s->at, left = s->bytes;

	if (!s->bytes && !(s->flags & FIN))
		return;
	t->ack_due = true;
	t->n.frames += s->bytes > 0;
	t->n.merged += xn_merged_hdr(m)[1] != VIRTIO_NET_HDR_GSO_NONE;
	if (ahead || t->peer_fin) {
		t->n.out_of_turn++;
		t->acks_now++;
		return;
	}
	for (unsigned i = 0; i < m->n && left; i++) {
		const uint32_t from = XN_MIN(skip, m->f[i].bytes), n = XN_MIN(left, m->f[i].bytes - from);

		if (!xn_tcp_is_pattern(t->cfg.pattern, t->rcv, m->f[i].data + from, n))
			t->n.bad += n;
		t->rcv += n;
		t->n.received += n;
		left -= n;
		skip -= from;
	}
	t->peer_fin = s->flags & FIN;
}

static void take(struct xn_tcp *t, const struct xn_merged *m)
{
	struct segment s;

	if (!parse(t, m, &s) || lost(t, t->cfg.drop_rx))
		return;
	take_options(t, &s);
	if (t->state == XN_TCP_OPENING) {
		take_syn(t, &s);
		return;
	}
	if (s.flags & RST) {
		t->state = XN_TCP_CLOSED;
		return;
	}
	if (t->state == XN_TCP_CLOSED)
		return;
	if (s.flags & SYN)
		t->ack_due = true;     /* our acknowledgement of it was lost */
	else if (s.flags & ACK)
		take_ack(t, &s);
	take_data(t, &s, m);
	if (t->fin_acked && t->peer_fin)
		t->state = XN_TCP_DONE;
}

/* ---- turns ---- */

static bool is_late(const struct xn_tcp *t, uint32_t ms)
{
	return xn_now_ns() - t->moved_ns > (uint64_t)ms * 1000000;
}

static unsigned send_all(struct xn_tcp *t)
{
	unsigned n = 0;

	if (t->state == XN_TCP_OPENING && is_late(t, OPEN_RTO_MS)) {
		t->moved_ns = xn_now_ns();
		return emit(t, t->isn, SYN, 0, 0);
	}
	if (t->state == XN_TCP_CLOSED || t->state == XN_TCP_OPENING)
		return 0;
	if ((t->una < t->top || t->fin_sent) && !t->fin_acked &&
	    is_late(t, t->cfg.rto_ms ? t->cfg.rto_ms : RTO_MS))
		go_back(t);
	for (; t->acks_now && emit_ack(t); n++)
		t->acks_now--;
	while (n < BATCH && emit_data(t))
		n++;
	if (t->ack_due)
		n += emit_ack(t);
	return n;
}

unsigned xn_tcp_turn(struct xn_tcp *t)
{
	struct xn_merged m;
	unsigned got = 0, sent;

	if (xn_merge_fetch(&t->merge, t->cfg.guest, 0)) {
		for (; xn_merge_next(&t->merge, &m); got++)
			take(t, &m);
		xn_merge_done(&t->merge, t->cfg.guest, 0);
	}
	sent = send_all(t);
	if (sent)
		xn_guest_chain_push(t->cfg.guest, 0);
	return got + sent;
}

void xn_tcp_init(struct xn_tcp *t, const struct xn_tcp_cfg *cfg)
{
	memset(t, 0, sizeof(*t));
	t->cfg = *cfg;
	t->mss = cfg->mtu - 40u - OPT_TS;
	t->isn = (uint32_t)xn_now_ns();
	t->rnd = 2463534242u;
}

void xn_tcp_open(struct xn_tcp *t)
{
	t->state = XN_TCP_OPENING;
}

void xn_tcp_close(struct xn_tcp *t)
{
	t->want_fin = true;
	if (t->state == XN_TCP_OPEN)
		t->state = XN_TCP_CLOSING;
}
