/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknetctl steer-peer: the far end of a veth sends each frame on the queue that the guest's RSS
 * says (bpf/peer.h).
 *
 * It is asked for on the interface that is the guest's peer, in its network namespace. What
 * keeps the program from being heard is looked for first: an interface that is no veth, fewer
 * transmit queues than the guest has, XPS, which comes before it (Linux net/core/dev.c,
 * netdev_pick_tx). XPS is to be seen in sysfs only, which shows the namespace in which it was
 * mounted: so this process mounts one of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/log.h"
#include "base/number.h"
#include "base/types.h"
#include "bpf/peer.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/sysfs.h"
#include "rss/config.h"
#include "rss/ethtool.h"

#define QUEUES_MAX 64u

struct opts {
	const char *ifname, *ctl, *key, *table;
	unsigned queues, start;
	bool off;
};

/* ---- words ---- */

static int number(const char *name, const char *text, unsigned min, unsigned max, unsigned *out)
{
	uint64_t v;

	if (!text || !xn_number(text, 10, min, max, &v))
		return xn_bad_usage("%s %s: want a number from %u to %u", name, text, min, max);
	*out = (unsigned)v;
	return 0;
}

static int check(const struct opts *o)
{
	bool config = o->queues || o->key || o->table || o->start;

	if (!o->ifname)
		return xn_bad_usage("steer-peer: which interface?");
	if (o->off && (config || o->ctl))
		return xn_bad_usage("--off takes nothing else");
	if (o->ctl && config)
		return xn_bad_usage("--ctl: the daemon says all the rest");
	if (config && !o->queues)
		return xn_bad_usage("--queues N is missing");
	return 0;
}

static int parse(struct opts *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "queues", required_argument, NULL, 'q' },    { "start", required_argument, NULL, 's' },
		{ "rss-key", required_argument, NULL, 'k' },   { "rss-table", required_argument, NULL, 't' },
		{ "ctl", required_argument, NULL, 'c' },       { "off", no_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int c, bad = 0;

	*o = (struct opts){ 0 };
	opterr = 0;
	optind = 1;
	while (!bad && (c = getopt_long(argc, argv, "-:", longs, NULL)) != -1) {
		switch (c) {
		case 1:
			if (o->ifname)
				return xn_bad_usage("steer-peer: \"%s\" is one word too many", optarg);
			o->ifname = optarg;
			break;
		case 'q':
			bad = number("--queues", optarg, 1, QUEUES_MAX, &o->queues);
			break;
		case 's':
			bad = number("--start", optarg, 0, QUEUES_MAX - 1, &o->start);
			break;
		case 'k':
			o->key = optarg;
			break;
		case 't':
			o->table = optarg;
			break;
		case 'c':
			o->ctl = optarg;
			break;
		case 'o':
			o->off = true;
			break;
		case ':':
			return xn_bad_usage("%s needs a value", argv[optind - 1]);
		default:
			return xn_bad_usage("steer-peer: \"%s\" is not known", argv[optind - 1]);
		}
	}
	return bad ? bad : check(o);
}

/* ---- which RSS ---- */

static int from_words(struct xn_rss_config *rss, const struct opts *o)
{
	xn_rss_default(rss, o->queues);
	if (o->key && xn_rss_set_key(rss, o->key))
		return xn_bad_usage("--rss-key %s: want 40 to %u bytes in hex", o->key, XN_RSS_KEY_MAX);
	if (o->table && xn_rss_set_table(rss, o->table, o->queues))
		return xn_bad_usage("--rss-table %s: want queues below %u, as many as a power of two, or equal:N",
				    o->table, o->queues);
	return 0;
}

static bool take_table(struct xn_rss_config *rss, json_t *table, unsigned pairs)
{
	size_t n = json_array_size(table);

	if (!n || n > XN_RSS_TABLE_MAX || n & (n - 1))
		return false;
	for (size_t i = 0; i < n; i++) {
		json_int_t q = json_integer_value(json_array_get(table, i));

		if (q < 0 || q >= (json_int_t)pairs)
			return false;
		rss->table[i] = (uint16_t)q;
	}
	rss->entries = (uint16_t)n;
	return true;
}

/*
 * "rss":{"queues":4,"start":0,"types":511,"unclassified":0,"key":"6d:5a:...","table":[0,1,2,3]}
 * out of a daemon's statistics. False: it is not there, or makes no sense.
 */
static bool take_rss(struct xn_rss_config *rss, struct opts *o, json_t *answer)
{
	json_t *r = json_object_get(answer, "rss");
	const char *key = json_string_value(json_object_get(r, "key"));
	json_int_t queues = json_integer_value(json_object_get(r, "queues"));
	json_int_t start = json_integer_value(json_object_get(r, "start"));
	json_int_t types = json_integer_value(json_object_get(r, "types"));
	json_int_t unclassified = json_integer_value(json_object_get(r, "unclassified"));

	if (queues < 1 || queues > (json_int_t)QUEUES_MAX || start < 0 || start >= (json_int_t)QUEUES_MAX ||
	    types < 0 || types > (json_int_t)XN_RSS_TYPES_ALL || unclassified < 0 || unclassified >= queues)
		return false;
	o->queues = (unsigned)queues;
	o->start = (unsigned)start;
	xn_rss_default(rss, o->queues);
	rss->types = (uint32_t)types;
	rss->unclassified = (uint16_t)unclassified;
	return key && !xn_rss_set_key(rss, key) && take_table(rss, json_object_get(r, "table"), o->queues);
}

/* A daemon whose guest has no RSS, and that was given none. */
static void say_nobody(json_t *answer, unsigned queues)
{
	const char *from = json_string_value(json_object_get(json_object_get(answer, "rss"), "from"));

	if (from && !strcmp(from, "nobody"))
		fprintf(stderr, "xsknetctl: nobody has set RSS, so a flow is wanted on the pair that sends it, which is not "
			"known here: xsknetd --rss-table equal:%u makes it exact\n", queues);
}

/* A socket's path is the same in every network namespace. */
static int from_daemon(struct xn_rss_config *rss, struct opts *o)
{
	char path[108];
	json_t *answer;
	int fd, err = xn_client_find(path, sizeof(path), o->ctl, XN_CLIENT_DIR);

	if (err)
		return err;
	fd = xn_client_connect(path);
	if (fd < 0)
		return fd;
	err = xn_client_stats(fd, &answer);
	close(fd);
	if (err)
		return err;
	if (!take_rss(rss, o, answer))
		err = xn_fail(EPROTO, "%s: this daemon does not tell its RSS: --queues, --rss-key and --rss-table do",
			      path);
	else
		say_nobody(answer, o->queues);
	json_decref(answer);
	return err;
}

/* ---- what is in the way ---- */

static void mount_own_sysfs(void)
{
	if (!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	    mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		xn_log(XN_LOG_DEBUG, "no sysfs of our own: %s", strerror(errno));
}

/* The first queue's file in which any bit is set. */
static bool find_xps(const char *ifname, char *found, size_t bytes)
{
	char pattern[128], mask[512];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/sys/class/net/%s/queues/tx-*/xps_*", ifname);
	found[0] = 0;
	if (!glob(pattern, 0, NULL, &g))
		for (size_t i = 0; i < g.gl_pathc && !found[0]; i++) {
			xn_sysfs_line(mask, sizeof(mask), g.gl_pathv[i]);
			if (mask[strspn(mask, "0,")])
				snprintf(found, bytes, "%s", g.gl_pathv[i]);
		}
	globfree(&g);
	return found[0];
}

/* Is this the interface that sysfs shows under its name? */
static bool is_in_sysfs(const char *ifname, unsigned ifindex)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", ifname);
	return xn_sysfs_number(path) == ifindex;
}

static int check_xps(const char *ifname, unsigned ifindex)
{
	char found[256];

	mount_own_sysfs();
	if (!is_in_sysfs(ifname, ifindex)) {
		fprintf(stderr, "xsknetctl: %s: whether XPS is set cannot be seen (it needs CAP_SYS_ADMIN): then "
			"frames go where XPS says\n", ifname);
		return 0;
	}
	if (!find_xps(ifname, found, sizeof(found)))
		return 0;
	return xn_fail(EBUSY, "%s: XPS chooses its transmit queues, and comes first: echo 0 > %s, and the same "
		       "for its other queues", ifname, found);
}

static unsigned tx_queues(struct xn_ethtool *e)
{
	struct ethtool_channels c = { .cmd = ETHTOOL_GCHANNELS };

	return e->call(e, &c) ? 0 : c.tx_count + c.combined_count;
}

static int check_peer(const char *ifname)
{
	struct xn_ethtool e;
	char driver[32];
	int err = xn_ethtool_open(&e, ifname);

	if (!err)
		err = xn_eth_driver(&e, driver);
	xn_ethtool_close(&e);
	if (err)
		return xn_fail(-err, "%s: %s", ifname, strerror(-err));
	if (strcmp(driver, "veth") != 0)
		return xn_fail(EOPNOTSUPP, "%s is no veth (%s): the peer of the guest's veth is meant; NICs are "
			       "programmed by xsknetd itself", ifname, driver);
	return 0;
}

static int check_queues(const struct opts *o)
{
	unsigned have, need = o->start + o->queues;
	struct xn_ethtool e;
	int err = xn_ethtool_open(&e, o->ifname);

	have = err ? 0 : tx_queues(&e);
	xn_ethtool_close(&e);
	if (have && have < need)
		return xn_fail(ENOSPC, "%s sends on %u queues, and the guest receives on %u..%u: ethtool -L %s tx %u",
			       o->ifname, have, o->start, need - 1, o->ifname, need);
	return 0;
}

/* ---- what it does ---- */

static void say_others(const char *ifname, unsigned others)
{
	if (others)
		fprintf(stderr, "xsknetctl: %s: %u other program%s there (bpftool net): what %s with a frame comes "
			"first\n", ifname, others, others == 1 ? " is" : "s are", others == 1 ? "it does" : "they do");
}

static int steer(const struct opts *o, unsigned ifindex, const struct xn_rss_config *rss)
{
	struct xn_rss_image *img = calloc(1, sizeof(*img));
	struct xn_peer_state st;
	int err = check_queues(o);

	if (!err)
		err = check_xps(o->ifname, ifindex);
	if (!err && !img)
		err = xn_fail(ENOMEM, "out of memory");
	if (!err) {
		xn_rss_image_make(img, rss);
		err = xn_peer_attach(ifindex, o->ifname, img, o->start);
	}
	if (!err)
		err = xn_peer_look(ifindex, o->ifname, &st);
	free(img);
	if (err)
		return err;
	printf("%s: frames go to receive queues %u..%u of the other end by the guest's hash, until --off\n",
	       o->ifname, o->start, o->start + o->queues - 1);
	say_others(o->ifname, st.others);
	return 0;
}

static int off(const struct opts *o, unsigned ifindex)
{
	int err = xn_peer_detach(ifindex, o->ifname);

	if (err == -ENOENT)
		printf("%s: was not steered\n", o->ifname);
	else if (!err)
		printf("%s: not steered any more\n", o->ifname);
	return err == -ENOENT ? 0 : err;
}

static int show(const struct opts *o, unsigned ifindex)
{
	struct xn_peer_state st;
	int err = xn_peer_look(ifindex, o->ifname, &st);

	if (err)
		return err;
	if (!st.on) {
		printf("%s: not steered\n", o->ifname);
		return 0;
	}
	printf("%s: steered; %" PRIu64 " frames by their hash, %" PRIu64 " without one\n", o->ifname,
	       st.count[XN_PEER_hashed], st.count[XN_PEER_unclassified]);
	say_others(o->ifname, st.others);
	return check_xps(o->ifname, ifindex);
}

static int fail(void)
{
	fprintf(stderr, "xsknetctl: %s\n", xn_last_error());
	return XN_EXIT_BAD;
}

int xn_cmd_steer_peer(int argc, char **argv)
{
	struct xn_rss_config rss;
	unsigned ifindex;
	struct opts o;
	int err = parse(&o, argc, argv);

	if (err)
		return err;
	ifindex = if_nametoindex(o.ifname);
	if (!ifindex) {
		xn_fail(errno, "%s: %s", o.ifname, strerror(errno));
		return fail();
	}
	if (check_peer(o.ifname))
		return fail();
	if (o.off)
		return off(&o, ifindex) ? fail() : XN_EXIT_OK;
	if (!o.queues && !o.ctl)
		return show(&o, ifindex) ? fail() : XN_EXIT_OK;
	err = o.ctl ? from_daemon(&rss, &o) : from_words(&rss, &o);
	if (err == XN_EXIT_USAGE)
		return err;
	return err || steer(&o, ifindex, &rss) ? fail() : XN_EXIT_OK;
}
