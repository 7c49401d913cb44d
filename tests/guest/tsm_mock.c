// SPDX-License-Identifier: GPL-2.0-only
/*
 * A chip for tests: registers a report provider with the kernel's own configfs-tsm and lets a program answer for it.
 *
 * TEST ONLY. It vouches for nothing. /dev/tsm-mock: read() gives the 64 bytes of a request once there is one; write()
 * answers it with u32 size of the report, the report, u32 size of the auxiliary blob, the blob (little endian).
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/tsm.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

static char *provider = "sev_guest";
module_param(provider, charp, 0444);

static DEFINE_MUTEX(one_at_a_time);
static DECLARE_WAIT_QUEUE_HEAD(asked);
static DECLARE_COMPLETION(answered);
static struct tsm_report *pending;
static int outcome;

static int take(const u8 *data, size_t size, size_t *at, u8 **blob, size_t *length)
{
	u32 want;

	if (size - *at < sizeof(want))
		return -EINVAL;
	memcpy(&want, data + *at, sizeof(want));
	*at += sizeof(want);
	if (want > size - *at || want > TSM_OUTBLOB_MAX)
		return -EINVAL;
	if (want) {
		*blob = kvmemdup(data + *at, want, GFP_KERNEL);
		if (!*blob)
			return -ENOMEM;
	}
	*length = want;
	*at += want;
	return 0;
}

static ssize_t mock_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	struct tsm_report *report = READ_ONCE(pending);
	size_t at = 0;
	u8 *data;

	if (!report)
		return -ENODATA;
	if (size > 2 * TSM_OUTBLOB_MAX)
		return -EFBIG;
	data = vmemdup_user(from, size);
	if (IS_ERR(data))
		return PTR_ERR(data);
	outcome = take(data, size, &at, &report->outblob, &report->outblob_len);
	if (!outcome)
		outcome = take(data, size, &at, &report->auxblob, &report->auxblob_len);
	kvfree(data);
	WRITE_ONCE(pending, NULL);
	complete(&answered);
	return size;
}

static ssize_t mock_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	struct tsm_report *report;

	if (size < TSM_INBLOB_MAX)
		return -EINVAL;
	if (wait_event_interruptible(asked, READ_ONCE(pending)))
		return -ERESTARTSYS;
	report = READ_ONCE(pending);
	if (copy_to_user(to, report->desc.inblob, TSM_INBLOB_MAX))
		return -EFAULT;
	return TSM_INBLOB_MAX;
}

static const struct file_operations mock_files = {
	.owner = THIS_MODULE,
	.read = mock_read,
	.write = mock_write,
};

static struct miscdevice mock_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tsm-mock",
	.fops = &mock_files,
};

static int mock_report(struct tsm_report *report, void *data)
{
	int result = -ETIMEDOUT;

	if (report->desc.inblob_len != TSM_INBLOB_MAX) /* as the real providers do */
		return -EINVAL;
	if (mutex_lock_interruptible(&one_at_a_time))
		return -EINTR;
	reinit_completion(&answered);
	outcome = -EIO;
	WRITE_ONCE(pending, report);
	wake_up_interruptible(&asked);
	if (wait_for_completion_interruptible_timeout(&answered, 30 * HZ) > 0)
		result = outcome;
	WRITE_ONCE(pending, NULL);
	mutex_unlock(&one_at_a_time);
	return result;
}

static bool mock_attribute(int n)
{
	return n != TSM_REPORT_SERVICE_PROVIDER && n != TSM_REPORT_SERVICE_GUID && n != TSM_REPORT_SERVICE_MANIFEST_VER;
}

static bool mock_blob(int n)
{
	return n != TSM_REPORT_MANIFESTBLOB;
}

static struct tsm_ops mock_ops = {
	.report_new = mock_report,
	.report_attr_visible = mock_attribute,
	.report_bin_attr_visible = mock_blob,
};

static int __init mock_start(void)
{
	int result;

	mock_ops.name = provider;
	result = misc_register(&mock_device);
	if (result)
		return result;
	result = tsm_register(&mock_ops, NULL);
	if (result)
		misc_deregister(&mock_device);
	return result;
}

static void __exit mock_end(void)
{
	tsm_unregister(&mock_ops);
	misc_deregister(&mock_device);
}

module_init(mock_start);
module_exit(mock_end);
MODULE_DESCRIPTION("A chip for tests, which vouches for nothing");
MODULE_LICENSE("GPL");
