/* The least a process can be: what starting any program costs here. */
int main(void)
{
	return 0;
}
