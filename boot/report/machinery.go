// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"strings"
	"sync"
)

// A names is a set of names of functions. "foo*" is all that begin with foo, "*foo"
// all that end so, and "*foo*" all that contain it. The lists are read when they are
// first used: the program that has them is the guest's init as well, which has no use
// for them.
type names struct {
	lists       []string
	read        sync.Once
	exact       map[string]bool
	begin       [256][]string // by the first byte
	end, within []string
}

func newNames(lists ...string) *names { return &names{lists: lists} }

func (n *names) readLists() {
	n.exact = make(map[string]bool)
	for _, list := range n.lists {
		for _, name := range strings.Fields(list) {
			inner := strings.Trim(name, "*")
			switch {
			case strings.HasPrefix(name, "*") && strings.HasSuffix(name, "*"):
				n.within = append(n.within, inner)
			case strings.HasSuffix(name, "*"):
				n.begin[inner[0]] = append(n.begin[inner[0]], inner)
			case strings.HasPrefix(name, "*"):
				n.end = append(n.end, inner)
			default:
				n.exact[name] = true
			}
		}
	}
}

// has says whether name is in the set.
func (n *names) has(name string) bool {
	n.read.Do(n.readLists)
	if n.exact[name] {
		return true
	}
	if name == "" {
		return false
	}
	for _, s := range n.begin[name[0]] {
		if strings.HasPrefix(name, s) {
			return true
		}
	}
	for _, s := range n.end {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	for _, s := range n.within {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// isMachinery says whether a function only finds and prints what is wrong, or helps
// anybody who calls it.
func isMachinery(name string) bool { return reporters.has(name) || helpers.has(name) }

// reporters are the functions that find and print what is wrong.
var reporters = newNames(
	// Printing, panic, BUG and WARN.
	`dump_stack* __dump_stack show_stack* show_regs* show_trace* __show_regs dump_backtrace* unwind_backtrace walk_stackframe
	 panic __panic panic_saved_regs panic_bad_stack check_panic_on_warn __stack_chk_fail watchdog watchdog_timer_fn vpanic nmi_panic get_taint printk* _printk vprintk* *_printk* *vprintk_emit* _dev_* va_format *printk_safe* console_unlock df_debug report_bug *_report_bug fixup_bug* __warn warn_slowpath_* warn_bogus* __warn_printk
	 print_tainted oops_* *_oops die* __die* do_trap* do_error_trap* handle_bug handle_invalid_op do_invalid_op invalid_op asm_exc_invalid_op
	 exc_invalid_op asm_exc_invalid_op bug_handler* bust_spinlocks __kunwind* kunwind* dump_invalid_creds rust_helper_BUG *rust_begin_unwind core::panicking::* core::option::* core::result::*`,
	// Sanitizers.
	`*kasan* *kmsan* *kcsan* *kfence* *ubsan* __asan_* asan_* __msan_* msan_* *__tsan_* tsan_* hwasan_* __hwasan_* __sanitizer_* sanitizer_*
	 handle_overflow handle_oob* val_to_string check_memory_region* memory_is_poisoned* check_access watchpoint_* find_watchpoint*
	 print_address_description* print_report print_error_description end_report start_report describe_object* check_region_inline
	 report_enabled __check_access *_once_size __read_once* test_bit instrument_atomic_* instrument_copy_* atomic_* arch_atomic* raw_atomic* atomic64_* atomic_long_*
	 clear_bit set_bit __set_bit __clear_bit clear_bit_unlock test_and_* constant_test_bit variable_test_bit arch_test_bit const_test_bit *_test_bit
	 read_word_at_a_time kcov_* write_comp_data trace_pc* notrace_*`,
	// Locks, lockdep, and what checks the context.
	`lock_acquire* lock_release* lock_is_held* osq_* owner_on_cpu *_owner_on_cpu perf_trace_* trace_event_raw_* __traceiter_* lock_contended lock_acquired* __lock_* lockdep_* *lockdep_* *_lock_class* lock_downgrade lock_set_class
	 check_prev* check_lock* check_noncircular check_deadlock* check_irq_usage* check_usage* check_flags* check_wait_context
	 validate_chain print_irq_inversion_bug* print_bad_irq_dependency* print_circular_bug* print_collision* print_deadlock_bug* print_usage* print_lock* print_unlock* mark_lock* mark_held_locks
	 mark_usage assign_lock_key register_lock_class* add_lock_to_list* reacquire_held_locks* match_held_lock find_held_lock find_lock* valid_state
	 static_obj is_dynamic_key debug_check_no_locks* debug_check_no_obj* trace_hardirqs_* trace_softirqs_* hlock_*
	 raw_spin_* _raw_* __raw_* *spin_lock* *spin_unlock* do_raw_* *read_lock* *read_unlock* *write_lock* *write_unlock* spin_bug spin_dump* rwlock_bug*
	 debug_spin_* debug_write_* debug_read_* queued_spin_* queued_write_* queued_read_* native_queued_* __pv_queued* pv_queued*
	 mutex_lock* mutex_unlock* mutex_trylock* __mutex_* *_mutex_lock* down_read* down_write* up_read* up_write* __down_* __up_* __down down up rwsem_*
	 *percpu_down* *percpu_up* percpu_rwsem* ww_mutex_* rt_mutex_* __rt_mutex* seqcount_* read_seq* *write_seq* do_write_seq* __seqprop* *seqlock*
	 ___might_sleep* __might_sleep* might_sleep* __might_resched* __might_fault* might_fault* __schedule_bug* __schedule schedule schedule_debug*
	 preempt_schedule* ___preempt_schedule __cond_resched* _cond_resched cond_resched* dynamic_cond_resched schedule_timeout* schedule_preempt_disabled preempt_count_add preempt_count_sub
	 debug_smp_processor_id check_preemption_disabled* __this_cpu_preempt_check rcu_lockdep_* rcu_read_lock* rcu_read_unlock* __rcu_read_* rcu_preempt_sleep*
	 local_lock* local_unlock* local_bh_* __local_bh_* local_irq_* arch_local_irq_* bit_spin_* lock_sock_nested __cant_* cant_*`,
)

// helpers are the functions that anybody calls, who is then the one to look at.
// One of them is guilty only where the stack has nothing else.
var helpers = newNames(
	// Entries of exceptions.
	`*brk_handler* brk_exception do_debug_exception el1_dbg* el1h_64_sync* el1_sync* el1_abort do_mem_abort do_translation_fault do_tag_check_fault __do_kernel_fault program_check_* machine_check_*
	 call_break_hook do_el1_brk* ret_from_exception do_trap_break handle_break do_page_fault* __do_page_fault* do_kern_addr_fault
	 do_user_addr_fault do_sea handle_exception* exc_page_fault* asm_exc_* error_entry page_fault async_page_fault *bad_area* no_context
	 exc_general_protection do_general_protection general_protection do_int3* int3 exc_int3 do_divide_error divide_error do_double_fault double_fault
	 exc_double_fault search_exception_tables fixup_exception do_async_page_fault retint_kernel reschedule_interrupt __x86_indirect_thunk_* __x86_return_thunk`,
	// Counters, lists, trees and other containers that check themselves.
	`refcount_* __refcount_* kref_* *_list_add_valid* *_list_del_entry_valid* __list_add* __list_del* list_add* list_del* list_move* list_replace* hlist_*
	 __hlist_* list_splice* list_empty* __llist* llist_* debug_object_* debug_print_object* debug_check_no_obj* __debug_object* debug_timer_* debug_work_*
	 debug_hrtimer_* debug_rcu_* kobject_* __kobject_* get_device put_device klist_* iput* ihold __iget kmap* kunmap* *kernel_text_address* warn_alloc* free_large_kmalloc sg_init* sg_copy_* sg_next cdev_del i2c_del_adapter lock_sock* release_sock __release_sock dput fast_dput lockref_* rb_erase* rb_insert* rb_next rb_first* rb_prev __rb_* rb_set_* rb_link_* list_lru_* cmpxchg* try_cmpxchg* xchg percpu_ref_*
	 radix_tree_* __radix_tree* xas_* xa_* __xa_* mas_* mt_* mtree_* idr_* ida_* plist_* rhashtable_* __rhashtable* rht_* ref_tracker_* __ref_tracker*
	 bitmap_* _find_* _atomic_dec_and_* atomic_dec_and_*`,
	// Timers, work, waking and waiting.
	`mod_timer* __mod_timer* add_timer* del_timer* *try_to_del_timer* timer_delete* __timer_delete* lock_timer_base init_timer_key hrtimer_start* hrtimer_cancel* hrtimer_try*
	 queue_work* __queue_work* insert_work queue_delayed_work* mod_delayed_work* flush_work __flush_work* start_flush_work flush_workqueue __flush_workqueue flush_delayed_work
	 drain_workqueue destroy_workqueue cancel_work* cancel_delayed_work* try_to_grab_pending __cancel_work* __cancel_del* work_is_static_object __wake_up* wake_up* *_wake_function
	 complete complete_all __complete* swake_up* wait_for_completion* __wait_for_common do_wait_for_common kthread_stop kthread_queue* kthread_park try_to_wake_up*
	 sk_stop_timer* sk_reset_timer finish_wait prepare_to_wait* add_wait_queue task_rq_lock mutex_remove_waiter call_rcu* __call_rcu* synchronize_rcu* synchronize_sched synchronize_srcu* synchronize_net cleanup_srcu_struct *srcu_read_* kill_fasync`,
	// Devices, sysfs and proc, whose users are guilty.
	`device_add device_del device_register device_unregister device_create_file device_remove_file* dpm_sysfs_* bus_add_device sysfs_* kernfs_remove* __kernfs_remove* kernfs_find* kernfs_add*
	 kernfs_put* usb_kill_urb usb_kill_anchored_urbs usb_unlink_urb usb_submit_urb usb_hcd_submit_urb usb_start_wait_urb usb_control_msg* usb_bulk_msg usb_interrupt_msg
	 rollback_registered* unregister_netdevice_* unregister_netdev unregister_netdevice`,
	// Allocators.
	`*kmalloc* *kzalloc* *kcalloc* *kvmalloc* kvzalloc* *krealloc* *kstrdup* kvasprintf* kasprintf* kmemdup* *memdup* kvmemdup* *kmem_cache_* *slab_alloc* *slab_free* *slab_post_alloc* ___slab_*
	 __slab_* slab_* new_slab* allocate_slab do_slab_free free_debug_* alloc_debug_* free_to_partial_list check_slab check_object* check_bytes* check_poison_mem unpoison_page kernel_poison_pages __kernel_unpoison_pages object_err slab_err slab_fix slab_pad* print_trailer
	 kfree* __kfree kvfree* cache_free* cache_alloc* ___cache_free __cache_free cache_grow* fallback_alloc qlink_free qlist_* quarantine_*
	 *alloc_pages* __get_free_page* get_page_from_freelist* prep_new_page prep_compound_page post_alloc_hook rmqueue* alloc_page* __alloc_page* *alloc_frozen_pages* *folio_alloc*
	 __free_page* free_page* __free_pages_ok* free_unref_* free_pcp* free_the_page free_tail_page* free_pages_* bad_page* check_free_page* check_new_page* __set_page_owner* __reset_page_owner*
	 page_frag_free* __vmalloc* vmalloc* vzalloc* vfree* __vunmap* vunmap* remove_vm_area kmem_* put_page* __put_page* folio_put* __folio_put* folios_put* release_pages free_contig_range
	 create_object* kmemleak_* __create_object* stack_trace_* save_stack* __save_stack* set_track* *_set_track* pcpu_alloc* *alloc_percpu* free_percpu* devm_kmalloc* devm_kzalloc* alloc_vmap_area* *noprof
	 mempool_alloc* mempool_free* mempool_kmalloc* dma_pool_* dma_alloc* __dma_alloc* memblock_alloc* init_object __phys_addr* __virt_to_phys* skb_free_head page_pool_alloc* __page_pool_alloc*
	 filemap_alloc_folio* __filemap_get_folio* pagecache_get_page* folio_unlock unlock_page folio_end_* folio_lock* lock_page*`,
	// Copying, strings, sums and ciphers.
	`__pi_* memcpy* __memcpy* ___memcpy memset* __memset* memmove* __memmove* memcmp* __memcmp memchr* memscan* strcpy* strncpy* strlcpy* strlen* strnlen* strcmp* strncmp* strchr* strrchr* strcat*
	 strstr* strscpy* sized_str* strsep strspn strcspn fortify_* __fortify* copy_from_user* copy_to_user* _copy_* __copy_* raw_copy_* *__arch_copy_* copy_user_* copy_page
	 __check_object_size* check_object_size* __check_heap_object* check_heap_object* usercopy_* check_copy_size check_page_span* report_usercopy*
	 get_user* put_user* __get_user* __put_user* *access_ok* *rep_movs* csum_partial* copyin copyout check_zeroed_user
	 copy_from_iter* copy_to_iter* _copy_from_iter* _copy_to_iter* csum_and_copy_* instrument_* nla_* __nla_* string string_nocheck hex_string hex_dump_to_buffer print_hex_dump*
	 vsnprintf snprintf vscnprintf scnprintf sprintf vsprintf pointer number put_dec* format_decode skb_put* skb_push* skb_pull* __skb_put* skb_panic skb_over_panic skb_under_panic
	 crc16 crc32* crc_* aes_* aesti_* keccakf* crypto_sh* sha1_* sha256_* sha512_* blake2* chacha* poly1305* xts_* cbc_* ecb_* cipher_crypt_* crypto_ecb_* crypto_skcipher_* crypto_cipher_* crypto_rng_* drbg_* rng_setkey`,
	// Entries and the way of interrupts to them.
	`apic_timer_interrupt smp_apic_timer_interrupt *sysvec_* __irq_svc __irq_usr gic_handle_irq asm_sysvec_* irqentry_* irq_exit*`,
)

// leakMachinery allocates on behalf of others as well, and kmemleak shows who asked.
var leakMachinery = newNames(`*alloc* *_mem_init *_init_once __list_lru_init sget_userns ksize kobject_set_name*`)

// interruptEntries are where an interrupt or an exception enters the kernel: what
// follows in a call trace is what was interrupted.
var interruptEntries = newNames(
	`*apic_timer_interrupt* asm_sysvec_* reschedule_interrupt call_function_interrupt ret_from_intr common_interrupt
	 asm_common_interrupt el1_irq el1_interrupt el1h_64_irq el1h_64_irq_handler __irq_svc ret_from_exception handle_exception
	 end_repeat_nmi asm_exc_nmi nmi`,
)

// dispatchers call very many functions, and whoever they called is what runs. For
// a stall the exact place says little: it is somewhere in a loop that goes on for
// long, so the function below a dispatcher stands for all of it.
var dispatchers = newNames(
	// System calls.
	`do_syscall_* entry_SYSCALL* entry_SYSENTER* entry_INT80* do_fast_syscall_* do_int80_syscall* __do_fast_syscall* sysenter_* tracesys* invoke_syscall* el0_svc* __invoke_syscall ret_fast_syscall
	 __sys_trace_return ret_from_syscall* do_el0_svc x64_sys_call ia32_sys_call syscall_return*
	 do_vfs_ioctl vfs_ioctl ksys_ioctl sys_ioctl *_sys_ioctl SyS_ioctl __vfs_write new_sync_write vfs_write call_write_iter __vfs_read new_sync_read vfs_read call_read_iter do_iter_readv_writev do_iter_write do_iter_read do_loop_readv_writev* do_readv_writev
	 vfs_writev vfs_readv
	 sock_sendmsg* sock_recvmsg* __sock_sendmsg sock_sendmsg_nosec sock_write_iter sock_read_iter sock_do_ioctl sock_ioctl inet_ioctl *compat_sys_ioctl *compat_SyS_ioctl *_compat_ioctl sock_common_setsockopt
	 rtnetlink_rcv_msg nfnetlink_rcv_msg netlink_rcv_skb genl_rcv_msg genl_family_rcv_msg* netlink_unicast* netlink_dump __netlink_dump_start
	 __fput ____fput task_work_run delayed_fput syscall_exit_to_user_mode*
	 mmap_region __mmap_region call_mmap do_mmap* __do_fault do_fault*
	 do_dentry_open do_open* vfs_open path_openat`,
	// Kernel threads, work, timers, softirqs and interrupts.
	`process_one_work process_scheduled_works worker_thread kthread ret_from_fork* run_ksoftirqd smpboot_thread_fn
	 __do_softirq do_softirq* handle_softirqs* net_rx_action tasklet_action* call_timer_fn* expire_timers __run_timers* run_timer_softirq* __run_hrtimer __hrtimer_run_queues hrtimer_interrupt hrtimer_run_queues
	 rcu_do_batch rcu_core* __handle_irq_event_percpu handle_irq_event*
	 __netif_receive_skb* netif_receive_skb* process_backlog __napi_poll napi_poll napi_gro_* napi_skb_finish
	 ret_from_kernel_thread cpu_startup_entry`,
)

// waiters are the functions in which a task sleeps. A hung task is named by who
// called them.
var waiters = newNames(
	`context_switch* __switch_to* __schedule* schedule* io_schedule* preempt_schedule* *_slowlock* *mutex_lock* *mutex* *_lock *_lock_* *lock_slow* *down_read* *down_write* down_* __down* down *rwsem* percpu_*
	 *wait* *completion*
	 kthread_stop* kthread_park* lock_sock* __lock_sock* *lock_page* *lock_folio* *folio_lock* *lock_buffer* flush_work* __flush_work* flush_workqueue* __flush_workqueue* drain_workqueue* flush_delayed_work cancel_work_* cancel_delayed_work* __cancel_work*
	 synchronize_* __synchronize_* usleep_range* msleep* do_nanosleep hrtimer_nanosleep schedule_hrtimeout* __refrigerator refrigerator freezable_* dequeue_* __lock_page* queued_* rt_spin_* ww_* destroy_workqueue lock_acquire* __sched_text_start
	 d_alloc_parallel usb_start_wait_urb usb_control_msg* usb_bulk_msg usb_interrupt_msg usb_kill_urb usb_kill_anchored_urbs`,
)

// A bucket is a resource that everybody waits for when somebody else keeps it:
// hung tasks that wait for it are the same report, whoever they are.
type bucket struct {
	functions *names
	title     string
}

var buckets = []bucket{
	{newNames(`synchronize_rcu* synchronize_sched* synchronize_srcu* __synchronize_srcu* __wait_rcu_gp synchronize_net synchronize_rcu_expedited rcu_barrier* _rcu_barrier*`), "synchronize_rcu"},
	{newNames(`rtnl_lock* rtnetlink_rcv_msg netdev_run_todo rtnl_net_lock`), "rtnl_lock"},
}
